"""Settings of the test processes that have to be made before anything is imported."""

import os
from pathlib import Path

# librosa, which the tests compare with, keeps several versions of a function in numba's cache: two processes that fill
# it at the same time can leave one's file under the other's name, and whoever loads it crashes.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / "numba" / worker)
