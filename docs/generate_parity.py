"""Write docs/_build/parity.md, which docs/parity.md includes, from a run of the parity tests over all clips."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "_build" / "parity.md"


def main() -> int:
    """Run the tests and, if all pass, write the table; return pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.md"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "tests/features/test_parity.py"]
        result = subprocess.run(command, cwd=DOCS.parent, env={**os.environ, "PARITY_TABLE": str(table)}, check=False)
        if result.returncode:
            return result.returncode
        rows = table.read_text()
    versions = {name: version(name).split("+")[0] for name in ("librosa", "essentia", "torch")}
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("With librosa {librosa}, Essentia {essentia} and torch {torch}:\n\n".format(**versions) + rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
