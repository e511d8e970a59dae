#!/usr/bin/env bash
# Runs critest in namespaces of its own against a containerd of its own, whose pods have a network: it mounts, opens
# ports on the host and makes shared memory there.
#
#   critest.sh FOLDER HANDLER FLAG…      PATH says which containerd, shims and runc it uses
#
# FOLDER holds `layout`, the OCI layout of the images, and `config.toml` of containerd; it is on a disk (overlayfs
# wants one), not below /tmp. It gets `report.json` of critest, `containerd.log`, and `left`: what was there when all
# pods were gone and a while had passed. crictl, critest, CNI's plugins and the registry are in the rig (fetch.sh critest).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/apart.sh"
rig=${WHERRY_RIG:-$HOME/.cache/wherry/rig}
socket=unix:///run/containerd/containerd.sock
# The same inside; several of these may run at once.
export APART_GROUP=${APART_GROUP:-wherry-critest-$$}

left() { # FOLDER: of pods; their shims, bundles, sockets and networks
  pgrep -a containerd-shim || true
  ls -d /run/containerd/io.containerd.runtime.v2.task/k8s.io/* /run/containerd/s/* /run/netns/* 2>/dev/null || true
  crictl -c "$1/crictl.yaml" pods -q
}

inside() { # FOLDER HANDLER FLAG…
  local folder=$1 handler=$2 attempt ready status=0
  shift 2
  apart_inside "$folder"
  sysctl -qw net.ipv4.ip_forward=1
  # A node's mounts are shared, and volumes that propagate are below this folder.
  mount --make-rshared /

  exec {registry}< <("$rig/bin/registry" -layout "$folder/layout" -certificate "$folder/registry.pem" 2>"$folder/registry.log")
  read -r -u "$registry" ready || die "the registry does not start: $(cat "$folder/registry.log")"
  export PATH=$PATH:$rig/bin
  echo "runtime-endpoint: $socket" >"$folder/crictl.yaml"
  containerd --config "$folder/config.toml" >"$folder/containerd.log" 2>&1 &
  for attempt in $(seq 300); do
    crictl -c "$folder/crictl.yaml" info >"$folder/info.json" 2>&1 && break
    sleep 0.1
  done
  [ "$attempt" -lt 300 ] || die "containerd's CRI does not answer: $(cat "$folder/info.json" "$folder/containerd.log")"

  critest -config "$folder/crictl.yaml" -runtime-handler "$handler" -ginkgo.no-color -ginkgo.seed=1 \
    -ginkgo.json-report="$folder/report.json" "$@" || status=$?
  # critest forgets the pods of some cases that fail.
  crictl -c "$folder/crictl.yaml" rmp -fa >>"$folder/containerd.log" 2>&1 || true
  for attempt in $(seq 100); do
    left "$folder" >"$folder/left" 2>&1
    [ -s "$folder/left" ] || break
    sleep 0.1
  done
  # The end of this process is the end of the process namespace, and of everything that the suite left running.
  return "$status"
}

case $1 in
  --inside)
    shift
    inside "$@"
    ;;
  *) apart "$0" --inside "$@" ;;
esac
