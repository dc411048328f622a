#!/bin/sh
# Writes engine/Cargo.lock anew: what the engine needs when it is built alone, in the versions that the workspace uses.
set -eu
engine=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
touch "$folder/src/lib.rs" "$folder/src/main.rs"
{ cat "$engine/Cargo.toml"; printf '\n[workspace]\n'; } >"$folder/Cargo.toml"
cp "$engine/../Cargo.lock" "$folder/Cargo.lock"
(cd "$folder" && cargo tree --offline >/dev/null)
cp "$folder/Cargo.lock" "$engine/Cargo.lock"
