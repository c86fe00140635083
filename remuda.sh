#!/bin/sh
# Builds Remuda if its sources are newer than the binary, and runs it: ./remuda.sh demo
# `serve` builds the optimised binary; whatever else is asked for is content with one that is built in half the time.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

fresh() {
    [ -x "$1" ] && [ -z "$(
        find "$root/src" "$root/crates" "$root/Cargo.toml" "$root/Cargo.lock" -newer "$1" -print -quit
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

build() {
    require_rust
    # zlib-ng is built with cmake, and the rest is linked with the C compiler.
    "$root/tools/need" cmake=cmake cc=build-essential
    cargo build --profile "$1" --locked --bin remuda --manifest-path "$root/Cargo.toml"
}

# What serves for years is optimised across crates, which takes long to build; what is tried out is not.
binary=$target/release/remuda
if ! fresh "$binary"; then
    case ${1:-} in
        serve)
            echo "Building Remuda with all optimisations, which takes minutes the first time." >&2
            build release
            ;;
        *)
            binary=$target/trial/remuda
            if ! fresh "$binary"; then
                echo "Building Remuda to try it out, which takes minutes the first time; \`serve\` builds it with all optimisations." >&2
                build trial
            fi
            ;;
    esac
fi
exec "$binary" "$@"
