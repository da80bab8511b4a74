"""Settings of the test processes that have to be made before anything is imported."""

import os
from pathlib import Path

# Two processes that fill one numba cache at the same time can leave a file in it that crashes whoever loads it.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / "numba" / worker)
