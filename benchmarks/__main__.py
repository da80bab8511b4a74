"""Run every benchmark: `python -m benchmarks`, or some of them by a part of their name: `python -m benchmarks hpss`."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the benchmarks one after another, each in its own process, and return the number of those that failed."""
    wanted = sys.argv[1:] or [""]
    scripts = sorted(Path(__file__).parent.glob("bench_*.py"))
    scripts = [script for script in scripts if any(part in script.stem for part in wanted)]
    if not scripts:
        print(f"no benchmark's name holds {' or '.join(map(repr, wanted))}", file=sys.stderr)
        return 1
    failed = 0
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        failed += subprocess.run([sys.executable, str(script)], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
