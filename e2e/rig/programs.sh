#!/usr/bin/env bash
# programs.sh TARGET [PACKAGE…]: builds the programs as released into $CARGO_TARGET_DIR/TARGET/release, and those of
# packages that are named like their program.
# One package at a time: cargo unifies the features of all packages of one invocation, and the
# guest must not get the compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1
. e2e/rig/lib.sh
if [ "$target" = aarch64-unknown-linux-musl ] && [ "$(uname -m)" != aarch64 ]; then
  apt_install gcc-aarch64-linux-gnu
fi
for package in wherry-guest wherry-cli "${@:2}"; do
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=$PWD/e2e/rig/link-static-pie.sh \
    cargo build --quiet --release --target "$target" -p "$package"
done
# Linked at a fixed address: relocations would dirty a third of a megabyte in every pod. The guest, which runs
# other people's code, keeps its random address.
cargo rustc --quiet --release --target "$target" -p containerd-shim-wherry --bin containerd-shim-wherry-v1 -- \
  -C relocation-model=static
for program in containerd-shim-wherry-v1 wherry-guest wherry "${@:2}"; do
  file="${CARGO_TARGET_DIR:-target}/$target/release/$program"
  # An interpreter in the program header means it is not static, and would fail on other distributions.
  if readelf -l "$file" | grep -q INTERP; then
    echo "$file is not static" >&2
    exit 1
  fi
  address=DYN
  [ "$program" = containerd-shim-wherry-v1 ] && address=EXEC
  if ! readelf -h "$file" | grep -q "Type: *$address"; then
    echo "$file is not linked as $address (fixed address: EXEC, random: DYN)" >&2
    exit 1
  fi
done
# The shell and tools of Wasm containers: one file for every machine, beside the programs that use it.
cargo build --quiet --release --target wasm32-wasip2 -p wherry-wasmbox --bin wasmbox
install -m 0644 "${CARGO_TARGET_DIR:-target}/wasm32-wasip2/release/wasmbox.wasm" "${CARGO_TARGET_DIR:-target}/$target/release/"
