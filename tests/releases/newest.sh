#!/usr/bin/env bash
# Run tests on the newest transformers that the registry has, without the ceiling of pyproject.toml, and say which that
# is. Where it is the pinned release, they run in .venv.
#
# usage: tests/releases/newest.sh VENV NEWEST_VENV TEST...
set -euo pipefail
venv=$1 newest_venv=$2
shift 2

pinned=$("$venv/bin/python" -c 'import transformers; print(transformers.__version__)')
newest=$("$venv/bin/python" -m pip index versions transformers 2>/dev/null | sed -n '1s/^transformers (\(.*\))$/\1/p')
if [ -z "$newest" ]; then
    echo "The registry does not say which release of transformers is the newest; nothing was run." >&2
    exit 1
fi
echo "newest transformers: $newest (pinned: $pinned)"
if [ "$newest" = "$pinned" ] && [ "${CI:-}" = true ]; then
    echo "The pinned release is the newest, and its tests have run."
    exit 0
fi
if [ "$newest" = "$pinned" ]; then
    OMP_NUM_THREADS=1 exec "$venv/bin/python" -m pytest -n 2 "$@"
fi

test -x "$newest_venv/bin/python" || "$venv/bin/python" -m venv "$newest_venv"
python="$newest_venv/bin/python"
"$python" -m pip install --quiet --constraint constraints.txt --upgrade pip
requirements=$("$venv/bin/python" - <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    for line in tomllib.load(file)["project"]["dependencies"]:
        print("transformers" if line.startswith("transformers") else line)
PYTHON
)
# shellcheck disable=SC2086
"$python" -m pip install --quiet --no-compile --upgrade --upgrade-strategy only-if-needed \
    $(grep '^torch==' constraints.txt) "transformers==$newest" --group test $(printf '%s\n' "$requirements" | grep -v '^torch\b' | tr '\n' ' ')
"$python" -m pip install --quiet --no-deps --build-constraint constraints.txt --editable .
"$python" -m pip list 2>/dev/null | grep -E '^(torch|transformers|huggingface_hub|tokenizers|accelerate|peft|numpy) '
OMP_NUM_THREADS=1 exec "$python" -m pytest -n 2 "$@"
