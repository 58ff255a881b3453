#!/bin/sh
# Show the suite on one GPU, within a few minutes and without a network:
#   tests/gpu/run.sh OUT [--minutes 9] [--parts correctness,speed,fast,schedule] [--data FOLDER]
#                    [--resume FOLDER] [--wheels FOLDER] [--device cuda] [--commit HASH]
# OUT gets the rows of each part, a log, and what --resume goes on from. Nothing is installed: the
# package's metadata, and wheels of --wheels, go to a folder that is removed at the end.
# Ends with 2, and one line, where a package is missing.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "run.sh: no ${PYTHON:-python3}" >&2; exit 2; }
here=$(pwd)
cd "$root"
DDL_BENCH_GPU_WORK=$(mktemp -d)
export DDL_BENCH_GPU_WORK
export DDL_BENCH_GPU_FROM="$here"
export PYTHONPATH="$DDL_BENCH_GPU_WORK/packages:$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8
"$python" -m tests.gpu.install "$@" || { code=$?; rm -rf "$DDL_BENCH_GPU_WORK"; exit "$code"; }
exec "$python" -m tests.gpu.pack "$@"
