#!/bin/bash
# Runs every test: Rust's, and those of the Python and JavaScript clients. Installs what they need.
# Goes on after a failure, so that one run shows them all, and then exits with 1.
set -euo pipefail
cd -- "$(dirname -- "$0")"
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

needed=(cmake=cmake cc=build-essential curl=curl python3=python3 node=nodejs npm=npm)
python3 -c 'import ensurepip' 2>/dev/null || needed+=(python3-venv)
tools/need "${needed[@]}"
if ! command -v promtool >/dev/null; then
    echo "promtool (Debian: prometheus) is missing: the metrics are tested without it" >&2
fi
if ! command -v redis-server >/dev/null; then
    echo "redis-server (Debian: redis-server) is missing: limits of several gateways are not tested" >&2
fi

failed=()
cargo test --workspace --locked --no-fail-fast || failed+=("cargo test")
tests/clients/run.sh || failed+=(tests/clients/run.sh)

if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
