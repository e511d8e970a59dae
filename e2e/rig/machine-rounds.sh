#!/bin/bash
# The rounds of suites inside of the machine of machine.sh, whose second disk is mounted at /wherry. A round is
# named by how cgroups are made, the suite, and what picks cases of it, if anything does.
set -uo pipefail
cd /wherry
cp -r root/. /
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export WHERRY_PROGRAMS=/wherry/programs WHERRY_RIG=/wherry/rig WHERRY_GUESTS=/wherry/guests
export WHERRY_CONTAINERD=2.4
# An emulated processor is some twenty times slower.
export WHERRY_PATIENCE=10

rounds=(cgroupfs/kernel cgroupfs/containerd cgroupfs/conformance cgroupfs/crash
  systemd/containerd systemd/conformance systemd/crash)

# Left out: what says how long something takes would measure the emulation, and a gigabyte takes an hour.
skipped=(
  lifecycle::entering_is_quick
  groups::groups_are_made_and_removed_quickly
  http_p2_drains_on_sigterm # fifty requests are to arrive within the second that each of them takes
  http_p3_drains_on_sigterm
  wasmbox_a_gigabyte_goes_through_a_pipeline_in_little_memory
)

round() { # CGROUPS SUITE [CASES]
  local name=${1}-$2${3:+-$3} began=$SECONDS code words=() case
  if [ "$2" != conformance ]; then
    for case in "${skipped[@]}"; do words+=(--skip "$case"); done
  fi
  echo "== $name"
  # shellcheck disable=SC2086
  WHERRY_CGROUPS=$1 "suites/$2" "${words[@]}" ${3//,/ } 2>&1 | tee "logs/$name.log"
  code=${PIPESTATUS[0]}
  {
    echo "$name: exit code $code after $((SECONDS - began)) s"
    grep -E '^test result: |answers the same|nothing left behind|\.\.\. FAILED$' "logs/$name.log" | sed 's/^/    /'
  } >>logs/totals
  return "$code"
}

. /etc/os-release
echo "$PRETTY_NAME, Linux $(uname -r), $(systemctl --version | head -1)" | tee logs/totals
echo "controllers: $(cat /sys/fs/cgroup/cgroup.controllers)" | tee -a logs/totals
echo "left out: ${skipped[*]}" | tee -a logs/totals
read -r -a wanted <wanted
[ ${#wanted[@]} -gt 0 ] || wanted=("${rounds[@]}")
verdict=good
for one in "${wanted[@]}"; do
  IFS=/ read -r cgroups suite cases <<<"$one"
  round "$cgroups" "$suite" "$cases" || verdict=bad
done
echo "$verdict" >logs/verdict
dmesg >logs/dmesg
journalctl --no-pager >logs/journal
sync
