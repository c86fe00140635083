#!/bin/bash
# Python with botocore, which it installs here: runs what it is given.
set -euo pipefail
here=$(cd -- "$(dirname -- "$0")" && pwd)

# Tests run at the same time, and the first of them installs.
exec 9>"$here/.venv.lock"
flock 9
# A virtual environment knows its own place and its Python: one that was moved, or is of another version, is made anew.
if ! "$here/.venv/bin/python" -c 'import pip' 2>/dev/null; then
    rm -rf "$here/.venv"
    python3 -m venv "$here/.venv"
fi
if ! cmp -s "$here/requirements.txt" "$here/.venv/installed"; then
    "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$here/.venv/installed"
fi
exec 9>&-
exec env PYTHONDONTWRITEBYTECODE=1 "$here/.venv/bin/python" "$@"
