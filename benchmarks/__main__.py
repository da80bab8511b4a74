"""Run every benchmark: `python -m benchmarks`, or some of them by a part of their name: `python -m benchmarks hpss`."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the benchmarks one after another, each in a process of its own, and return the number of those that failed."""
    wanted = sys.argv[1:] or [""]
    scripts = [
        path for path in sorted(Path(__file__).parent.glob("bench_*.py")) if any(part in path.stem for part in wanted)
    ]
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
