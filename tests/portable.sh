#!/usr/bin/env bash
# The tests that compare numbers, with other instruction sets and numbers of threads than this machine would choose; then
# all tests in the default setting, with one thread, beside two busy processes. Usage: tests/portable.sh PYTHON [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
pytest_arguments=("$@")
comparing=(tests/features tests/metrics tests/run tests/test_callback.py tests/test_compiled.py tests/test_levels.py)
failed=()
export OMP_NUM_THREADS=1

in_force() {
  "$python" - <<'EOF'
import os

import torch

try:
    from numba.core.registry import cpu_target

    numba = cpu_target.target_context.codegen().magic_tuple()[1]
except ImportError:
    numba = "not installed"
told = {name: os.environ.get(name, "what it finds") for name in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")}
print(
    f"   in force: torch {torch.backends.cpu.get_cpu_capability()}, numba {numba}, oneDNN {told['ONEDNN_MAX_CPU_ISA']}, "
    f"MKL {told['MKL_ENABLE_INSTRUCTIONS']}; threads: torch {torch.get_num_threads()}, between operations "
    f"{torch.get_num_interop_threads()}, numba {os.environ.get('NUMBA_NUM_THREADS', 'one')}"
)
EOF
}

# What numba keeps is told apart by the name of the CPU, so that all settings may use the same folders.
# setting NAME [VARIABLE=value …] -- [paths of tests]: run them under these variables, and note whether they fail.
setting() {
  local name=$1 variables=()
  shift
  while [ "$1" != -- ]; do variables+=("$1"); shift; done
  shift
  local started=$SECONDS
  echo "== $name"
  (
    [ ${#variables[@]} -eq 0 ] || export "${variables[@]}"
    in_force
    "$python" -m pytest -q "${pytest_arguments[@]}" "$@"
  ) || failed+=("$name")
  echo "== $((SECONDS - started)) s: $name"
}

capability=$("$python" -c 'import torch; print(torch.backends.cpu.get_cpu_capability())')
case $(uname -m) in
  x86_64 | amd64)
    setting "SSE 4" ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 NUMBA_CPU_NAME=generic -- "${comparing[@]}"
    if [ "$capability" = DEFAULT ]; then
      echo "== left out: AVX2, which this CPU has not"
    else
      setting "AVX2" ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell -- "${comparing[@]}"
    fi
    ;;
  *) echo "== left out: SSE 4 and AVX2, since this is no x86-64 CPU but $(uname -m)" ;;
esac
# Left to itself, MKL would take no more threads than there are cores; these would be slow if they spun while they wait.
setting "four threads" OMP_NUM_THREADS=4 MKL_DYNAMIC=FALSE NUMBA_NUM_THREADS=4 OMP_WAIT_POLICY=passive -- "${comparing[@]}"

# Busy for as long as this script lives, however it ends.
for _ in 1 2; do
  while kill -0 $$ 2>/dev/null; do :; done &
done
setting "the default, one thread, under load" --

if [ ${#failed[@]} -gt 0 ]; then
  printf '== FAILED: %s\n' "${failed[@]}" >&2
  exit 1
fi
