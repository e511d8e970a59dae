# Sourced by scripts that run a rude suite in namespaces of its own. When the script ends, however it ends, its
# processes, mounts, network and cgroups are gone with it.

hierarchies() { # cgroup v1 hierarchies, and the v2 one beside them
  awk '$3 == "cgroup" || ($3 == "cgroup2" && $2 != "/sys/fs/cgroup") {print $2}' /proc/mounts
}

enter_groups() {
  local at file
  for at in $(hierarchies); do
    mkdir -p "$at/$APART_GROUP"
    # A new group of cpuset has no processor until it is told, and nobody may enter.
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$at/$file" ] || cat "$at/$file" >"$at/$APART_GROUP/$file"
    done
    echo $$ >"$at/$APART_GROUP/cgroup.procs"
  done
}

# Processes of the suite that the kernel has not yet let go keep their groups busy.
leave_groups() {
  local at left attempt
  for at in $(hierarchies); do
    echo $$ >"$at/cgroup.procs"
    for attempt in $(seq 100); do
      left=$(find "$at/$APART_GROUP" -name cgroup.procs -exec cat {} + 2>/dev/null) || true
      [ -n "$left" ] || break
      kill -KILL $left 2>/dev/null || true
      sleep 0.1
    done
    find "$at/$APART_GROUP" -depth -type d -exec rmdir {} + || say "$at/$APART_GROUP is left: attempt $attempt"
  done
}

apart() { # PROGRAM…: runs in namespaces and cgroups named $APART_GROUP
  enter_groups
  trap leave_groups EXIT
  # Not exec: whoever is left in our groups is found and removed by this process.
  unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --mount-proc --propagation private -- "$@"
}

apart_inside() { # FOLDER: mounts over what would be the machine's
  local at
  for at in $(hierarchies); do mount --bind "$at/$APART_GROUP" "$at"; done
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p "$1"/{tmp,var-lib,opt}
  chmod 1777 "$1/tmp"
  mount --bind "$1/var-lib" /var/lib
  mount --bind "$1/opt" /opt
  mount --bind "$1/tmp" /tmp
  ip link set lo up
}
