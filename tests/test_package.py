import subprocess
import sys

import lightning_dissect

LATER = ("kornia", "torchaudio", "nnAudio", "tensorboard", "essentia", "cv2", "IPython")


def test_the_public_names_are_there() -> None:
    for name in lightning_dissect.__all__:
        assert getattr(lightning_dissect, name).__doc__
    assert lightning_dissect.__version__


def test_importing_takes_in_nothing_heavy() -> None:
    code = (
        "import sys, pytorch_lightning, torchmetrics, pandas; before = set(sys.modules); import lightning_dissect; "
        f"print([m for m in {LATER} if m in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.splitlines()[-1] == "[]"
