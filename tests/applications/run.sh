#!/bin/bash
# Applications through the gateway, against simulated providers of every kind. They are installed from PyPI and npm into
# $REMUDA_APPLICATIONS, else ~/.cache/remuda-applications: about 10 GB, nearly all of them Open WebUI. Not a part of
# .ci/run: what they bring is not Remuda's to pin for ever.
#
# Names of applications as arguments (claude, codex, opencode, aider, python, ai-sdk, open-webui) run those alone; the rows of
# the others stay as they are. REMUDA_APPLICATION_TABLE=write makes the table of docs/applications.md anew.
set -euo pipefail
cd -- "$(dirname -- "$0")"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

root=$(cd ../.. && pwd)
if [ -z "${REMUDA_BIN:-}" ]; then
    cargo build --quiet --locked --bin remuda --manifest-path "$root/Cargo.toml"
    REMUDA_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/remuda
fi
REMUDA_BIN=$(realpath -e -- "$REMUDA_BIN")
export REMUDA_BIN

installed=${REMUDA_APPLICATIONS:-${XDG_CACHE_HOME:-$HOME/.cache}/remuda-applications}
mkdir -p "$installed/js"

# Whether an application is to be run.
wanted() {
    [ "${#only[@]}" -eq 0 ] && return
    local one
    for one in "${only[@]}"; do
        [[ " $* " == *" $one "* ]] && return
    done
    return 1
}
only=("$@")

for name in python aider open-webui; do
    wanted "$name" || continue
    if ! cmp -s "requirements-$name.txt" "$installed/$name/installed"; then
        python3 -m venv --clear "$installed/$name"
        "$installed/$name/bin/python" -m pip install --quiet --disable-pip-version-check -r "requirements-$name.txt"
        cp "requirements-$name.txt" "$installed/$name/installed"
    fi
done
if wanted claude codex opencode ai-sdk; then
    if ! cmp -s js/package-lock.json "$installed/js/installed"; then
        cp js/package.json js/package-lock.json "$installed/js/"
        npm --prefix "$installed/js" ci --no-audit --no-fund --loglevel=error
        cp js/package-lock.json "$installed/js/installed"
    fi
    # It finds its libraries beside itself.
    cp js/sdk.mjs "$installed/js/"
fi

PYTHONDONTWRITEBYTECODE=1 exec python3 table.py "$installed" "$@"
