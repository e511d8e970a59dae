#!/usr/bin/env bash
# Runs the suites in a machine of their own, which has what this one may not: systemd, and cgroup v2 with all
# its controllers. Debian with its own kernel under qemu, which emulates the processor, and is slow: a /dev/kvm
# that is there may still not work.
#
#   machine.sh [ROUND…]     rounds of machine-rounds.sh, with a word that picks cases or without:
#                           cgroupfs/containerd systemd/crash/native; all rounds without any
#   WHERRY_ACCEL=kvm        where it is known to work
#   WHERRY_PROGRAMS, WHERRY_RIG, WHERRY_GUESTS as for any suite
#
# A root file system of fetch.sh, which is never written to, and a second disk with programs and tests.
# What the suites say comes over the serial port; their logs are in $WHERRY_RIG/machine/logs afterwards.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
e2e=$(cd "$here/.." && pwd)
. "$here/lib.sh"
rig=${WHERRY_RIG:-$HOME/.cache/wherry/rig}
guests=${WHERRY_GUESTS:-$HOME/.cache/wherry/guests}
programs=${WHERRY_PROGRAMS:?the folder with the built programs}
machine=$rig/machine
# Of a machine that hangs, nothing is heard any more.
limit=${WHERRY_MACHINE_MINUTES:-180}

[ -s "$machine/root.img" ] || die "there is no machine: run e2e/rig/fetch.sh machine"
# One at a time: there is one folder of logs, and the machine takes what processors there are.
exec 9>"$machine/.lock"
flock 9
work=$(mktemp -d "$machine/run-XXXXXX")
trap 'rm -rf "$work"' EXIT

# What cargo has just built of this kind and name.
built() { # KIND NAME CARGO-ARGUMENT…
  local kind=$1 name=$2 file
  shift 2
  file=$(cargo "$@" --quiet --message-format json |
    sed -n "/\"kind\":\\[\"$kind\"\\]/s/.*\"name\":\"$name\".*\"executable\":\"\\([^\"]*\\)\".*/\\1/p")
  [ -x "$file" ] || die "cargo told of no $kind called $name"
  echo "$file"
}

# Without its symbols, which nobody sees there, a suite is a third of the size.
suite() { # PACKAGE NAME FOLDER
  strip -o "$3/$2" "$(built test "$2" test --no-run -p "$1" --test "$2")"
}

stage() { # ROUND…
  local disk=$work/disk name probe
  mkdir -p "$disk"/{programs,rig/bin,suites,logs,guests/native,root}
  cp "$programs"/{containerd-shim-wherry-v1,wherry-guest,wherry,wasmbox.wasm} "$disk/programs/"
  cp -r "$rig"/{containerd-2.4,runc} "$disk/rig/"
  cp "$rig/bin/busybox" "$disk/rig/bin/"
  find "$guests" -maxdepth 1 -type f -exec cp -t "$disk/guests" {} +
  find "$guests/native" -maxdepth 1 -type f -exec cp -t "$disk/guests/native" {} +
  for name in containerd conformance crash; do suite wherry-e2e "$name" "$disk/suites"; done
  suite wherry-sandbox kernel "$disk/suites"
  # What suites look for where they were built.
  probe=$(built bin wherry-sandbox-probe build -p wherry-sandbox --bins)
  mkdir -p "$disk/root$(dirname "$probe")" "$disk/root$e2e"
  cp "$probe" "$disk/root$probe"
  cp "$e2e/CONFORMANCE.md" "$disk/root$e2e/"
  cp "$here/machine-rounds.sh" "$disk/rounds"
  echo "$*" >"$disk/wanted"
  mke2fs -q -t ext4 -L wherry -d "$disk" "$work/disk.img" 2G
}

boot() {
  # Of an emulated processor: there is nothing to mitigate, and its timers may be late. Its TSC is no clock: the
  # kernel finds its rate by looking at it for an instant, which was wrong by eight times on a busy machine.
  local emulated="mitigations=off no_timer_check tsc=unstable"
  timeout --foreground "${limit}m" qemu-system-x86_64 -accel "${WHERRY_ACCEL:-tcg,thread=multi}" -cpu max \
    -smp "$(nproc)" -m 4096 -nographic -no-reboot -net none \
    -kernel "$machine/vmlinuz" -initrd "$machine/initrd.img" \
    -append "console=ttyS0 root=/dev/vda rw panic=-1 loglevel=1 systemd.show_status=no $emulated" \
    -drive "file=$machine/root.img,format=raw,if=virtio,snapshot=on" \
    -drive "file=$work/disk.img,format=raw,if=virtio,cache=unsafe" </dev/null
}

logs() { # out of the second disk
  rm -rf "$machine/logs"
  e2fsck -fp "$work/disk.img" >/dev/null || [ $? -le 2 ] || die "the second disk is damaged"
  debugfs -R "rdump /logs $machine" "$work/disk.img" 2>/dev/null
}

stage "$@"
TMPDIR=$work boot || say "the machine did not power off by itself within $limit minutes"
logs
[ -s "$machine/logs/totals" ] || die "the machine ran nothing: see what it said above"
# Once more, below everything that the suites have said.
cat "$machine/logs/totals"
[ "$(cat "$machine/logs/verdict" 2>/dev/null)" = good ] ||
  die "not all rounds passed: $machine/logs has what was said"
