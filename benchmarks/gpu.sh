#!/usr/bin/env bash
# Measure a GPU on a machine that may lack Keras and the network.
#
#   benchmarks/gpu.sh OUTPUT [FLAG...]     the flags of benchmarks/gpu.py
#
# WHEELS (default .whl) is a folder of wheels to install into a temporary folder first; without it,
# the packages of PYTHON (default python3) are used as they are. See CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 1 ] || [[ "$1" == -* ]]; then
  echo "error: usage: benchmarks/gpu.sh OUTPUT [FLAG...]" >&2
  exit 2
fi
output="$1"
shift
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

if compgen -G "${WHEELS:-.whl}/*.whl" >/dev/null; then
  site="$(mktemp -d)"
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
    --disable-pip-version-check --target "$site" "${WHEELS:-.whl}"/*.whl
  export PYTHONPATH="$site:$PYTHONPATH"
fi

# TensorFlow, Keras's own default, need not be installed.
export KERAS_BACKEND="${KERAS_BACKEND:-torch}"
"$python" -c "import uotm_keras" || {
  echo "error: uotm_keras cannot be imported: put the missing packages into ${WHEELS:-.whl}." >&2
  exit 2
}
"$python" benchmarks/gpu.py --output="$output" "$@"
