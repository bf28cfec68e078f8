#!/usr/bin/env bash
# Build the wheel, install it with the pinned versions in an environment that holds nothing else, and run its demo there,
# outside the checkout, so that a file which the wheel lacks is missed. Takes some minutes: torch is installed anew.
#
# usage: tests/releases/wheel.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2
root=$PWD
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

rm -rf "$venv"
"$python" -m venv "$venv"
python="$root/$venv/bin/python"
"$python" -m pip install --quiet --constraint constraints.txt --upgrade pip
"$python" -m pip wheel --quiet --no-deps --build-constraint constraints.txt --wheel-dir "$wheels" .
"$python" -m pip install --quiet --no-compile --constraint constraints.txt "$wheels"/todre-*.whl \
    "$(grep '^matplotlib==' constraints.txt)"
"$python" -m pip check

cd "$wheels"
"$root/$venv/bin/todre" version
OMP_NUM_THREADS=1 "$root/$venv/bin/todre" demo --output demo
test -s demo/demo.png
test -s demo/demo.json
"$python" - "$root" <<'PYTHON'
import sys
from pathlib import Path

import todre

where = Path(todre.__file__).resolve()
if Path(sys.argv[1], "src") in where.parents:
    sys.exit(f"todre was imported from the checkout, {where}, not from the wheel.")
print(f"the wheel works: {where}")
PYTHON
