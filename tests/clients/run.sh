#!/bin/bash
# Real Python and JavaScript clients through the gateway, against a simulated fleet. Installs the clients here,
# and takes the binary that REMUDA_BIN names, else target/debug/remuda, which it builds if its sources are newer.
set -euo pipefail
cd -- "$(dirname -- "$0")"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

root=$(cd ../.. && pwd)
if [ -z "${REMUDA_BIN:-}" ]; then
    REMUDA_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/remuda
    if [ ! -x "$REMUDA_BIN" ] || [ -n "$(find "$root"/{src,crates,Cargo.toml,Cargo.lock} -newer "$REMUDA_BIN" -print -quit)" ]; then
        cargo build --quiet --locked --bin remuda --manifest-path "$root/Cargo.toml"
        # Cargo leaves it as it is where nothing that it is made of has changed.
        touch "$REMUDA_BIN"
    fi
fi
REMUDA_BIN=$(realpath -e -- "$REMUDA_BIN")
export REMUDA_BIN

# What a user has set for servers of their own is not for these.
unset OLLAMA_HOST OLLAMA_API_KEY OPENAI_API_KEY OPENAI_BASE_URL OPENAI_ORG_ID OPENAI_PROJECT_ID
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

# A virtual environment knows its own place and its Python: one that was moved, or is of another version, is made anew.
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
fi
if ! cmp -s requirements.txt .venv/installed; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt .venv/installed
fi
if ! cmp -s js/package-lock.json js/node_modules/installed; then
    npm --prefix js ci --no-audit --no-fund --loglevel=error
    cp js/package-lock.json js/node_modules/installed
fi

failed=0
(cd python && PYTHONDONTWRITEBYTECODE=1 exec ../.venv/bin/python -m pytest) || failed=1
(cd js && exec node --test) || failed=1
exit "$failed"
