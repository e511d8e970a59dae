#!/usr/bin/env bash
# Licences, sources and banned crates, or the checks that are named (deny.toml). cargo-deny is built once into ~/.cache/wherry/tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.20.2
tools=${HOME}/.cache/wherry/tools
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
  cargo install --quiet --locked --root "$tools" "cargo-deny@$version"
fi
if [ $# -eq 0 ]; then set -- bans licenses sources; fi
"$tools/bin/cargo-deny" --log-level error check "$@"
