#!/usr/bin/env bash
# Licences, sources and banned crates (deny.toml). cargo-deny is built once into ~/.cache/wherry/tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.20.2
tools=${HOME}/.cache/wherry/tools
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
  cargo install --quiet --locked --root "$tools" "cargo-deny@$version"
fi
"$tools/bin/cargo-deny" --log-level error check bans licenses sources
