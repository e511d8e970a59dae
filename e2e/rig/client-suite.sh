#!/usr/bin/env bash
# Runs containerd's integration/client in namespaces of its own, where it may be as rude as it is: the suite has
# fixed paths (/run/containerd-test, /var/lib/containerd-test, /tmp/runc-test, the cgroup /containerd/shim),
# counts processes by name in `ps ax`, and pulls from ghcr.io and registry.k8s.io.
#
#   client-suite.sh FOLDER RUNTIME FLAG…      PATH says which containerd, shims and runc it uses
#
# FOLDER holds `layout`, the OCI layout of the images, and is on a disk (overlayfs wants one), not below /tmp.
# The programs client.test and registry, and the sources of the suite, are in the rig (fetch.sh client-suite).
# Flags go to client.test; RUNC_FLAVOR too: other than runc, tests that wrap runc or use it themselves are skipped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/apart.sh"
rig=${WHERRY_RIG:-$HOME/.cache/wherry/rig}
suite=$rig/client-suite
hosts=ghcr.io,registry.k8s.io
APART_GROUP=wherry-client-suite

outside() { # FOLDER RUNTIME FLAG…
  exec 9>"$suite/.lock"
  flock 9
  apart "$0" --inside "$@"
}

inside() { # FOLDER RUNTIME FLAG…
  local folder=$1 runtime=$2
  shift 2
  apart_inside "$folder"
  printf '127.0.0.1 localhost %s\n' "${hosts//,/ }" >"$folder/hosts"
  mount --bind "$folder/hosts" /etc/hosts

  local ready
  exec {registry}< <("$suite/registry" -layout "$folder/layout" -hosts "$hosts" -certificate "$folder/registry.pem" 2>"$folder/registry.log")
  read -r -u "$registry" ready || die "the registry does not start: $(cat "$folder/registry.log")"

  cd "$suite/source/integration/client"
  # The end of this process is the end of the process namespace, and of everything that the suite left running.
  env -i PATH="$PATH" HOME=/root TMPDIR=/tmp SSL_CERT_FILE="$folder/registry.pem" TEST_RUNTIME="$runtime" \
    RUNC_FLAVOR="${RUNC_FLAVOR:-runc}" "$suite/client.test" -test.v -test.root -no-criu "$@"
}

case $1 in
  --inside)
    shift
    inside "$@"
    ;;
  *) outside "$@" ;;
esac
