#!/bin/sh
# Builds Remuda if its sources are newer than the binary, and runs it: ./remuda.sh demo
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
binary=${CARGO_TARGET_DIR:-$root/target}/release/remuda
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

fresh() {
    [ -x "$binary" ] && [ -z "$(
        find "$root/src" "$root/crates" "$root/Cargo.toml" "$root/Cargo.lock" -newer "$binary" -print -quit
    )" ]
}

require_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null 2>&1; then
        echo "Remuda is built with Rust $wanted or newer, and there is no cargo here." >&2
        echo "Install it from https://rustup.rs (no root needed), and run this again." >&2
        exit 1
    fi
    found=$(rustc --version | cut -d ' ' -f 2)
    oldest=$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)
    if [ "$oldest" != "$wanted" ]; then
        echo "Remuda is built with Rust $wanted or newer, and this is $found." >&2
        echo "Run \`rustup update\`; without rustup, install Rust from https://rustup.rs." >&2
        exit 1
    fi
}

if ! fresh; then
    require_rust
    # zlib-ng is built with cmake, and the rest is linked with the C compiler.
    "$root/tools/need" cmake=cmake cc=build-essential
    if [ ! -x "$binary" ]; then
        echo "building Remuda; the first time takes some minutes" >&2
    fi
    cargo build --quiet --release --locked --bin remuda --manifest-path "$root/Cargo.toml"
fi
exec "$binary" "$@"
