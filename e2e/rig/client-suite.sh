#!/usr/bin/env bash
# Runs containerd's integration/client in namespaces of its own, where it may be as rude as it is: the suite has
# fixed paths (/run/containerd-test, /var/lib/containerd-test, /tmp/runc-test, the cgroup /containerd/shim),
# counts processes by name in `ps ax`, and pulls from ghcr.io and registry.k8s.io.
#
#   client-suite.sh FOLDER RUNTIME FLAG…      PATH says which containerd, shims and runc it uses
#
# FOLDER holds `layout`, the OCI layout of the images, and is on a disk (overlayfs wants one), not below /tmp.
# The programs client.test and registry, and the sources of the suite, are in the rig (fetch.sh client-suite).
# Flags go to client.test; RUNC_FLAVOR too: other than runc, tests that wrap runc or use it themselves are skipped. When this ends, however it ends, its processes and mounts are gone with it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
rig=${WHERRY_RIG:-$HOME/.cache/wherry/rig}
suite=$rig/client-suite
hosts=ghcr.io,registry.k8s.io
group=wherry-client-suite

hierarchies() { # cgroup v1 hierarchies, and the v2 one beside them
  awk '$3 == "cgroup" || ($3 == "cgroup2" && $2 != "/sys/fs/cgroup") {print $2}' /proc/mounts
}

enter_groups() {
  local at file
  for at in $(hierarchies); do
    mkdir -p "$at/$group"
    # A new group of cpuset has no processor until it is told, and nobody may enter.
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$at/$file" ] || cat "$at/$file" >"$at/$group/$file"
    done
    echo $$ >"$at/$group/cgroup.procs"
  done
}

# Processes of the suite that the kernel has not yet let go keep their groups busy.
leave_groups() {
  local at left attempt
  for at in $(hierarchies); do
    echo $$ >"$at/cgroup.procs"
    for attempt in $(seq 100); do
      left=$(find "$at/$group" -name cgroup.procs -exec cat {} + 2>/dev/null) || true
      [ -n "$left" ] || break
      kill -KILL $left 2>/dev/null || true
      sleep 0.1
    done
    find "$at/$group" -depth -type d -exec rmdir {} + || say "$at/$group is left: attempt $attempt"
  done
}

outside() { # FOLDER RUNTIME FLAG…
  exec 9>"$suite/.lock"
  flock 9
  enter_groups
  trap leave_groups EXIT
  # Not exec: whoever is left in our groups is found and removed by this process.
  unshare --mount --pid --net --cgroup --fork --kill-child --mount-proc --propagation private -- \
    "$0" --inside "$@"
}

inside() { # FOLDER RUNTIME FLAG…
  local folder=$1 runtime=$2 at
  shift 2
  for at in $(hierarchies); do mount --bind "$at/$group" "$at"; done
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p "$folder"/{tmp,var-lib,opt}
  chmod 1777 "$folder/tmp"
  mount --bind "$folder/var-lib" /var/lib
  mount --bind "$folder/opt" /opt
  mount --bind "$folder/tmp" /tmp
  printf '127.0.0.1 localhost %s\n' "${hosts//,/ }" >"$folder/hosts"
  mount --bind "$folder/hosts" /etc/hosts
  ip link set lo up

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
