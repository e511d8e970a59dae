#!/usr/bin/env bash
# Fetches what the suites run against into ${WHERRY_RIG:-~/.cache/wherry/rig}: several versions of
# containerd and Docker side by side, and runc. Debian packages are unpacked, never installed; the rest is
# built from Go modules. Whatever is there in the right version is left alone, so a second run takes a second.
#
#   fetch.sh demo | bench                         containerd 2.4 and runc
#   fetch.sh containerd-1.7 | -2.1 | -2.4         one containerd and runc
#   fetch.sh containerd                           all three
#   fetch.sh docker-26 | -28 | -29 | docker       Docker Engine with its containerd
#   fetch.sh client-suite                         containerd's own suite, integration/client, with what it wants
#   fetch.sh crictl                               crictl and critest
#   fetch.sh critest                              crictl and critest, CNI's plugins, a registry, containerd 1.7 and 2.4
#   fetch.sh cluster                              Kubernetes with its etcd, the root of its nodes, containerd 1.7 and 2.4
#   fetch.sh fleet                                the same, and containerd 2.1
#   fetch.sh operator                             Kubernetes with its etcd, and the collector of OpenTelemetry
#   fetch.sh scale                                Kubernetes with its etcd, and kwok, which plays nodes
#   fetch.sh helm                                 Helm 3 and Helm 4, definitions of the Prometheus Operator
#   fetch.sh machine                              systemd and cgroup v2 under qemu, containerd 2.4 and runc
#   fetch.sh guests                               compilers for the guests in C and Go
#   fetch.sh test | [all]                         what make test needs; with containerd's own suite
#
# Cold on two cores: Kubernetes takes 10 to 15 minutes, containerd 2.4 2 to 3, Docker 29 4, everything else seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/versions.sh"
. "$here/lib.sh"
RIG=${WHERRY_RIG:-$HOME/.cache/wherry/rig}
mkdir -p "$RIG/bin"

# --- Debian packages from a private list of one suite, so that the machine's own lists are left alone.

debian_source() { # -> "URI KEYRING" of this machine's own Debian mirror, else the public one
  local uri='' key=''
  if [ -r /etc/apt/sources.list.d/debian.sources ]; then
    uri=$(awk '/^URIs/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
    key=$(awk '/^Signed-By/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
  elif [ -r /etc/apt/sources.list ]; then
    uri=$(grep -oE 'https?://[^ ]*/debian/?( |$)' /etc/apt/sources.list | head -1 | tr -d ' ')
  fi
  echo "${uri:-http://deb.debian.org/debian} ${key:-/usr/share/keyrings/debian-archive-keyring.gpg}"
}

unpack() { # SUITE PACKAGE…
  local suite=$1 base=$RIG/debian/$1 uri key
  shift
  rm -rf "$base/debs"
  mkdir -p "$base"/{lists/partial,cache/archives/partial,debs,root}
  read -r uri key < <(debian_source)
  [ -r "$key" ] || apt_install debian-archive-keyring
  echo "deb [signed-by=$key] $uri $suite main" >"$base/sources.list"
  local apt=(apt-get -qq -o Dir::Etc::sourcelist="$base/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$base/lists" -o Dir::Cache="$base/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update || return
  (cd "$base/debs" && "${apt[@]}" download "$@" && for deb in *.deb; do dpkg -x "$deb" ../root; done)
}

says() { # PROGRAM WORDS: it is there, starts on this machine and tells this version
  local told
  [ -x "$1" ] && told=$("$1" --version 2>/dev/null) && [[ $told == *"$2"* ]]
}

# Puts containerd VERSION below $RIG/debian/SUITE, where the harness looks for it.
debian_containerd() { # SUITE VERSION MODULE
  local bin=$RIG/debian/$1/root/usr/bin
  says "$bin/containerd" " $2" && [ -x "$bin/ctr" ] && return
  say "containerd $2 from Debian $1"
  unpack "$1" containerd || true
  says "$bin/containerd" " $2" && return
  say "Debian $1 no longer has containerd $2: building it from its Go module"
  go_containerd "$bin" "$3" "$2"
}

# --- Go modules.

go_containerd() { # FOLDER MODULE VERSION
  go_ready
  mkdir -p "$1"
  (cd / && GOBIN=$1 go install -tags "no_btrfs no_devmapper no_zfs" \
    -ldflags "-s -w -X $2/version.Version=v$3" "$2"/cmd/{containerd,containerd-shim-runc-v2,ctr}@"v$3")
  says "$1/containerd" "$3" || die "containerd $3 was built in $1 and does not start"
}

containerd17() { debian_containerd trixie "$RIG_CONTAINERD_17" github.com/containerd/containerd; }
containerd21() { debian_containerd sid "$RIG_CONTAINERD_21" github.com/containerd/containerd/v2; }
containerd24() {
  says "$RIG/containerd-2.4/containerd" "v$RIG_CONTAINERD_24" && [ -x "$RIG/containerd-2.4/ctr" ] && return
  say "containerd $RIG_CONTAINERD_24 from its Go module (2 to 3 minutes)"
  go_containerd "$RIG/containerd-2.4" github.com/containerd/containerd/v2 "$RIG_CONTAINERD_24"
}

module_source() { # MODULE VERSION CHECKSUM -> the folder of its sources in the module cache
  local answer
  answer=$(cd / && go mod download -json "$1@v$2")
  field() { sed -n "s/^\\t\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" <<<"$answer"; }
  [ "$(field Sum)" = "$3" ] || die "$1 $2 has the checksum $(field Sum), not $3"
  field Dir
}

# The suite is part of containerd's module: its sources in the module cache, checked against our checksum, are
# built with the versions that its own go.sum names, and it is run among its test data.
client_suite() {
  local out=$RIG/client-suite source
  # It looks for leaked pipes with lsof, for orphans with ps, and mounts an xfs.
  apt_install lsof procps xfsprogs iproute2
  [ "$(cat "$out/version" 2>/dev/null)" = "$RIG_CONTAINERD_24 $(sha256sum <"$here/registry/main.go")" ] && return
  say "containerd's integration/client $RIG_CONTAINERD_24 from its Go module (1 minute)"
  go_ready
  source=$(module_source github.com/containerd/containerd/v2 "$RIG_CONTAINERD_24" "$RIG_CONTAINERD_24_SUM")
  mkdir -p "$out"
  ln -sfn "$source" "$out/source"
  (cd "$out/source/"
    go test -c -tags "no_btrfs no_devmapper no_zfs" -o "$out/client.test" ./integration/client
    go build -o "$out/runc-fp" ./integration/failpoint/cmd/runc-fp)
  (cd "$here/registry" && go build -o "$out/registry" .)
  echo "$RIG_CONTAINERD_24 $(sha256sum <"$here/registry/main.go")" >"$out/version"
}

# crictl and critest, built of the sources of their module with the versions that its own go.sum names; a program
# with a set-user-id bit for critest's images.
cri_tools() {
  local source
  # critest makes shared memory with ipcmk, and its pods have ports on the host.
  apt_install iptables util-linux procps iproute2 libc6-dev gcc
  says "$RIG/bin/crictl" " $RIG_CRI_TOOLS" && [ -x "$RIG/bin/critest" ] && [ -x "$RIG/bin/nonewprivs" ] && return
  say "crictl and critest $RIG_CRI_TOOLS from their Go module (2 minutes)"
  go_ready
  source=$(module_source sigs.k8s.io/cri-tools "$RIG_CRI_TOOLS" "$RIG_CRI_TOOLS_SUM")
  local flags="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$RIG_CRI_TOOLS"
  (cd "$source"
    CGO_ENABLED=0 go test -c -ldflags "$flags" -o "$RIG/bin/critest" ./cmd/critest
    CGO_ENABLED=0 go build -ldflags "$flags" -o "$RIG/bin/crictl" ./cmd/crictl)
  gcc -static -Os -s -o "$RIG/bin/nonewprivs" "$here/nonewprivs.c"
  says "$RIG/bin/crictl" "$RIG_CRI_TOOLS" || die "crictl was built in $RIG/bin and does not start"
}

# The network plugins of CNI's own project.
cni() {
  [ -x "$RIG/debian/$(debian_suite)/root/usr/lib/cni/ptp" ] && return
  say "CNI's network plugins from Debian"
  unpack "$(debian_suite)" containernetworking-plugins
}

runc() {
  says "$RIG/runc/runc" "runc version $RIG_RUNC" && return
  say "runc $RIG_RUNC from its Go module"
  apt_install libseccomp-dev pkg-config gcc libc6-dev
  go_ready
  mkdir -p "$RIG/runc"
  (cd / && CGO_ENABLED=1 GOBIN=$RIG/runc go install -tags seccomp -ldflags "-s -w -X main.version=$RIG_RUNC" \
    "github.com/opencontainers/runc@v$RIG_RUNC")
  says "$RIG/runc/runc" "runc version" || die "runc was built in $RIG/runc and does not start"
}

debian_docker() { # SUITE VERSION
  local root=$RIG/debian/$1/root/usr
  # Published ports and the names of other containers are its firewall's work.
  apt_install iptables
  says "$root/sbin/dockerd" "$2" && return
  say "Docker Engine $2 from Debian $1"
  unpack "$1" docker.io || die "the packages of Debian $1 could not be fetched"
  says "$root/sbin/dockerd" "$2" || die "Debian $1 no longer has Docker $2:" \
    "take $(ls "$RIG/debian/$1/debs" | grep -m1 docker.io) into rig/versions.sh, or put dockerd $2 at $root/sbin/dockerd"
}

docker26() { debian_docker trixie "$RIG_DOCKER_26"; }
docker28() { debian_docker sid "$RIG_DOCKER_28"; }

# dockerd built as a library tells no version of its own, so a file beside it does.
docker29() {
  apt_install iptables
  [ -x "$RIG/bin/dockerd29" ] && [ "$(cat "$RIG/bin/dockerd29.version" 2>/dev/null)" = "$RIG_DOCKER_29" ] && return
  say "Docker Engine 29 (moby $RIG_DOCKER_29) from its Go module (4 minutes)"
  go_ready
  mkdir -p "$RIG/moby-src"
  (cd "$RIG/moby-src"
    [ -e go.mod ] || go mod init moby
    go get "github.com/moby/moby/v2/cmd/dockerd@v$RIG_DOCKER_29"
    go build -ldflags "-s -w" -o "$RIG/bin/dockerd29" github.com/moby/moby/v2/cmd/dockerd)
  echo "$RIG_DOCKER_29" >"$RIG/bin/dockerd29.version"
}

# Any recent client will do: it speaks the daemon's version of the API.
docker_cli() {
  [ -x "$RIG/bin/docker" ] && return
  local found
  if found=$(command -v docker) && "$found" --version >/dev/null 2>&1; then
    ln -sf "$found" "$RIG/bin/docker"
    return
  fi
  say "the Docker client from Debian trixie"
  unpack trixie docker-cli containerd
  ln -sf "$RIG/debian/trixie/root/usr/bin/docker" "$RIG/bin/docker"
  says "$RIG/bin/docker" "Docker version" || die "Debian trixie's docker does not start on this machine"
}

# What `docker run --init` mounts into a container.
docker_init() {
  [ -x "$RIG/bin/docker-init" ] && return
  apt_install tini
  cp "$(type -P tini-static || type -P tini)" "$RIG/bin/docker-init"
}

busybox() {
  [ -x "$RIG/bin/busybox" ] && return
  apt_install busybox-static
  cp "$(type -P busybox)" "$RIG/bin/busybox"
}

guests() {
  go_ready
  command -v clang >/dev/null && command -v wasm-ld >/dev/null && [ -d /usr/include/wasm32-wasi ] && return
  say "clang, lld and wasi-libc for the guests in C"
  apt_install clang lld libclang-rt-dev-wasm32 wasi-libc
}

# Debian as new as this machine, whose C library the suites and runc were linked against.
debian_suite() {
  (. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") || echo trixie
}

debian_tree() { # OUT SUITE PACKAGES -> the path of a new root file system with these packages, in the folder OUT
  local out=$1 suite=$2 tree uri key
  read -r uri key < <(debian_source)
  [ -r "$key" ] || apt_install debian-archive-keyring >&2
  mkdir -p "$out"
  tree=$(mktemp -d "$out/tree-XXXXXX")
  chmod 755 "$tree"
  debootstrap --variant=minbase --keyring="$key" --include="$3" "$suite" "$tree" "${uri%/}" \
    >"$out/debootstrap.log" 2>&1 || die "debootstrap: $(tail -3 "$out/debootstrap.log")"
  echo "$tree"
}

# A root file system with systemd as PID 1, and the kernel that boots it: what machine.sh runs the suites in.
machine() {
  local out=$RIG/machine suite made tree
  [ "$(uname -m)" = x86_64 ] || die "the machine is built for x86-64 only"
  apt_install debootstrap qemu-system-x86 e2fsprogs binutils
  suite=$(debian_suite)
  made="$suite $(declare -f machine machine_unit debian_tree | sha256sum)"
  [ "$(cat "$out/version" 2>/dev/null)" = "$made" ] && return
  say "Debian $suite as a machine of its own (2 minutes)"
  tree=$(debian_tree "$out" "$suite" systemd-sysv,dbus,udev,kmod,linux-image-cloud-amd64,iproute2,procps,openssl)
  machine_unit >"$tree/etc/systemd/system/wherry-rounds.service"
  ln -s ../wherry-rounds.service "$tree/etc/systemd/system/multi-user.target.wants/"
  # They would hang up the serial port, which is the rounds'.
  ln -s /dev/null "$tree/etc/systemd/system/getty.target"
  ln -s /dev/null "$tree/etc/systemd/system/serial-getty@ttyS0.service"
  mkdir "$tree/wherry"
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
  cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
  cp "$tree"/boot/initrd.img-* "$out/initrd.img"
  rm -f "$out/root.img"
  mke2fs -q -t ext4 -d "$tree" "$out/root.img" 6G
  rm -rf --one-file-system "$tree"
  echo "$made" >"$out/version"
}

machine_unit() {
  cat <<'UNIT'
[Unit]
Description=Rounds of suites
After=dbus.service
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
ExecStartPre=/bin/mount LABEL=wherry /wherry
ExecStart=/wherry/rounds
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=multi-user.target
UNIT
}


# All programs of Kubernetes that a cluster needs, and etcd, in one file (kube/main.go): they share most of their code,
# so that one is built in a third of the time of six. The version is told as a release would, or clients see v0.0.0.
kube() {
  local told=k8s.io/component-base/version made version=$RIG_KUBERNETES
  made=$(cat "$here"/kube/{main.go,go.mod,go.sum} | sha256sum)
  [ -x "$RIG/bin/kube" ] && [ "$(cat "$RIG/bin/kube.version" 2>/dev/null)" = "$version $made" ] && return
  grep -q "k8s.io/kubernetes v$version$" "$here/kube/go.mod" || die "kube/go.mod is not of Kubernetes $version"
  say "Kubernetes $version from its Go modules (10 to 15 minutes)"
  go_ready
  (cd "$here/kube" && go build -trimpath -o "$RIG/bin/kube" -ldflags "-s -w -X $told.gitVersion=v$version \
    -X $told.gitMajor=${version%%.*} -X $told.gitMinor=$(cut -d. -f2 <<<"$version")" .)
  "$RIG/bin/kube" kubectl version --client 2>/dev/null | grep -q "v$version" ||
    die "Kubernetes was built in $RIG/bin/kube and does not start"
  echo "$version $made" >"$RIG/bin/kube.version"
}

# A root file system with systemd as PID 1, which systemd-nspawn boots as a node of a cluster: with what kubelet,
# kube-proxy and containerd call.
node() {
  local out=$RIG/node suite made tree
  apt_install debootstrap systemd-container iproute2
  suite=$(debian_suite)
  made="$suite $(declare -f node debian_tree | sha256sum)"
  [ "$(cat "$out/version" 2>/dev/null)" = "$made" ] && return
  say "Debian $suite as the root of a node (1 minute)"
  tree=$(debian_tree "$out" "$suite" systemd-sysv,dbus,iproute2,iptables,kmod,procps,mount,conntrack,ethtool,socat,containernetworking-plugins,libseccomp2)
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/etc/{resolv.conf,machine-id}
  rm -rf --one-file-system "$out/tree"
  mv "$tree" "$out/tree"
  echo "$made" >"$out/version"
}

helm3() { helm_of 3 "$RIG_HELM_3"; }
helm4() { helm_of 4 "$RIG_HELM_4"; }
helm_of() { # MAJOR VERSION
  local out=$RIG/helm-$1
  [ -x "$out/helm" ] && "$out/helm" version --short 2>/dev/null | grep -q "^v$2\b" && return
  say "Helm $2 from its Go module (3 minutes)"
  go_ready
  mkdir -p "$out"
  (cd / && GOBIN=$out go install -trimpath \
    -ldflags "-s -w -X helm.sh/helm/v$1/internal/version.version=v$2" "helm.sh/helm/v$1/cmd/helm@v$2")
  "$out/helm" version --short | grep -q "^v$2\b" || die "Helm $2 was built in $out and does not start"
}

# The definitions of what the chart may have of the Prometheus Operator's.
prometheus() {
  local out=$RIG/prometheus source kind
  [ "$(cat "$out.version" 2>/dev/null)" = "$RIG_PROMETHEUS" ] && return
  go_ready
  source=$(module_source github.com/prometheus-operator/prometheus-operator "$RIG_PROMETHEUS" "$RIG_PROMETHEUS_SUM")
  mkdir -p "$out"
  for kind in servicemonitors prometheusrules; do
    install -m 0644 "$source/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" "$out/"
  done
  echo "$RIG_PROMETHEUS" >"$out.version"
}

# Serves a folder with images, and takes what is pushed, over TLS.
registry() {
  local made
  made=$(cat "$here"/registry/* | sha256sum)
  [ -x "$RIG/bin/registry" ] && [ "$(cat "$RIG/bin/registry.version" 2>/dev/null)" = "$made" ] && return
  go_ready
  (cd "$here/registry" && go build -o "$RIG/bin/registry" .)
  echo "$made" >"$RIG/bin/registry.version"
}

# Takes traces, and tells what they are.
collector() {
  local made
  made=$(cat "$here"/collector/* | sha256sum)
  [ -x "$RIG/bin/collector" ] && [ "$(cat "$RIG/bin/collector.version" 2>/dev/null)" = "$made" ] && return
  say "the collector of OpenTelemetry from its Go modules (2 minutes)"
  go_ready
  (cd "$here/collector" && go build -trimpath -ldflags "-s -w" -o "$RIG/bin/collector" .)
  echo "$made" >"$RIG/bin/collector.version"
}

# Plays nodes and what runs on them, thousands at once.
kwok() {
  [ -x "$RIG/bin/kwok" ] && [ "$(cat "$RIG/bin/kwok.version" 2>/dev/null)" = "$RIG_KWOK" ] && return
  say "kwok $RIG_KWOK from its Go module (2 minutes)"
  go_ready
  (cd / && GOBIN=$RIG/bin go install -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@v$RIG_KWOK")
  "$RIG/bin/kwok" --version >/dev/null || die "kwok was built in $RIG/bin and does not start"
  echo "$RIG_KWOK" >"$RIG/bin/kwok.version"
}

parts() { # SUITE -> the parts it needs
  case $1 in
    demo | bench | containerd-2.4) echo containerd24 runc busybox guests ;;
    containerd-1.7) echo containerd17 runc busybox guests ;;
    containerd-2.1) echo containerd21 runc busybox guests ;;
    containerd) echo containerd17 containerd21 containerd24 runc busybox guests ;;
    client-suite) echo containerd24 runc busybox client_suite guests ;;
    docker-26) echo containerd17 docker26 docker_cli docker_init runc busybox guests ;;
    docker-28) echo containerd21 docker28 docker_cli docker_init runc busybox guests ;;
    docker-29) echo containerd24 docker29 docker_cli docker_init runc busybox guests ;;
    docker) parts docker-26 && parts docker-28 && parts docker-29 ;;
    test) parts containerd && parts docker && parts crictl ;;
    all) parts test && parts cluster && parts client-suite && parts critest ;;
    cluster) echo containerd17 containerd24 runc busybox kube node registry guests ;;
    crictl) echo cri_tools ;;
    critest) echo containerd17 containerd24 runc busybox cri_tools cni registry guests ;;
    fleet) parts cluster && echo containerd21 ;;
    operator) echo kube collector ;;
    scale) echo kube kwok ;;
    helm) echo helm3 helm4 prometheus ;;
    machine) echo containerd24 runc busybox machine guests ;;
    guests) echo guests ;;
    *) die "there is no suite called $1; see the top of $0" ;;
  esac
}

[ $# -gt 0 ] || set -- all
# One at a time: two suites started together would unpack into each other.
exec 9>"$RIG/.lock"
flock 9
done_parts=' '
for suite in "$@"; do
  wanted=$(parts "$suite")
  for part in $wanted; do
    case $done_parts in *" $part "*) continue ;; esac
    "$part"
    done_parts+="$part "
  done
done
