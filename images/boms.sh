#!/usr/bin/env bash
# boms.sh TARGET FOLDER: what each program of a release is made of, from Cargo.lock, as <program>.cdx.json in the folder.
# cargo-cyclonedx is built once into ~/.cache/wherry/tools.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 out=$2 version=0.5.9
tools=$HOME/.cache/wherry/tools
if [ "$("$tools/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null)" != "cargo-cyclonedx-cyclonedx $version" ]; then
  cargo install --quiet --locked --root "$tools" "cargo-cyclonedx@$version"
fi
# It writes beside every Cargo.toml, and the path of the checkout into what it writes.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$scratch"
mkdir -p "$out"
bom() { # PACKAGE'S-FOLDER BINARY TARGET PROGRAM
  (cd "$scratch" && "$tools/bin/cargo-cyclonedx" cyclonedx --quiet --format json --describe binaries --spec-version 1.5 \
    --target "$3" --manifest-path "$1/Cargo.toml")
  sed "s#$scratch#/wherry#g" "$scratch/$1/$2_bin.cdx.json" >"$out/$4.cdx.json"
}
for program in shim:containerd-shim-wherry-v1 shim/guest:wherry-guest shim/cli:wherry operator:wherry-operator \
  operator/node:wherry-node; do
  bom "${program%:*}" "${program#*:}" "$target" "${program#*:}"
done
bom shim/wasmbox wasmbox wasm32-wasip2 wasmbox.wasm
