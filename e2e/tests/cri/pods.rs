//! What the containers of a pod have in common, and what not.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use wherry_e2e::cri::{NODE, Namespaces, POD, PodConfig};
use wherry_e2e::rig::Version;
use wherry_e2e::suite::{Case, For};

use crate::daemon::{ADDRESS, Daemon};

pub(crate) const SHIM: &str = "shim";
pub(crate) const PODSANDBOX: &str = "podsandbox";

pub(crate) const CASES: &[Case<Daemon>] = &[
    ("a_pod_of_wasm_and_native_containers", For::Any, |d| mixed(d, PODSANDBOX)),
    ("shim_a_pod_of_wasm_and_native_containers", For::Wherry, |d| mixed(d, SHIM)),
    ("shim_a_pod_has_no_process_but_its_containers", For::Wherry, no_process),
    ("a_pod_has_files_of_its_own", For::Any, |d| files(d, PODSANDBOX)),
    ("shim_a_pod_has_files_of_its_own", For::Wherry, |d| files(d, SHIM)),
    ("a_pod_shares_memory", For::Any, |d| shm(d, PODSANDBOX)),
    ("shim_a_pod_shares_memory", For::Wherry, |d| shm(d, SHIM)),
    ("a_pod_has_settings_of_the_kernel", For::Any, |d| sysctls(d, PODSANDBOX)),
    ("shim_a_pod_has_settings_of_the_kernel", For::Wherry, |d| sysctls(d, SHIM)),
    ("a_pod_shares_its_processes", For::Any, |d| processes(d, PODSANDBOX)),
    ("shim_a_pod_shares_its_processes", For::Wherry, |d| processes(d, SHIM)),
    ("a_pod_is_in_the_namespaces_of_the_node", For::Any, |d| of_node(d, PODSANDBOX)),
    ("shim_a_pod_is_in_the_namespaces_of_the_node", For::Wherry, |d| of_node(d, SHIM)),
    ("a_pod_that_cannot_be_made_is_told_and_leaves_nothing", For::Wherry, |d| {
        refused(d, PODSANDBOX)
    }),
    ("shim_a_pod_that_cannot_be_made_is_told_and_leaves_nothing", For::Wherry, |d| {
        refused(d, SHIM)
    }),
];

pub(crate) fn namespaces(config: &mut PodConfig, change: impl FnOnce(&mut Namespaces)) {
    let security = config.linux.as_mut().and_then(|linux| linux.security.as_mut());
    if let Some(namespaces) = security.and_then(|security| security.namespaces.as_mut()) {
        change(namespaces);
    }
}

fn mixed(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let pod = daemon.plain(handler, "web-0")?;
    ensure!(pod.is_ready()?);
    let status = daemon.cri().pod(&pod.id)?;
    ensure!(status.ip() == ADDRESS && status.created_at > 0, "{status:?}");
    let (one, native) = (pod.wasm()?, pod.native()?);
    let other = pod.run(pod.container("wherry.test/sleep:linux", &[]))?;
    for kind in ["net", "ipc", "uts"] {
        let own = daemon.own_namespace(kind)?;
        let seen = [&one, &other, &native].map(|id| pod.namespace(id, kind));
        let seen = seen.into_iter().collect::<Result<Vec<PathBuf>>>()?;
        ensure!(
            seen[0] == seen[1] && seen[1] == seen[2] && seen[0] != own,
            "{kind}: {seen:?} {own:?}"
        );
    }
    for kind in ["pid", "mnt"] {
        let seen = [pod.namespace(&one, kind)?, pod.namespace(&native, kind)?];
        ensure!(seen[0] != seen[1], "{kind}: {seen:?}");
    }
    // The network is the one that CRI has made.
    let pid = daemon.cri().pid(&one)?;
    let folder = daemon.containerd.place.inside("/run/netns");
    let made = fs::read_dir(folder)?.next().expect("a network namespace")?.path();
    let inode = |path: PathBuf| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).map(|meta| meta.ino())
    };
    ensure!(inode(made)? == inode(format!("/proc/{pid}/ns/net").into())?);
    ensure!(daemon.cri().told(&native, &["/bin/busybox", "hostname"])? == "web-0\n");
    daemon.cri().stop(&one, 0)?;
    let status = daemon.cri().container(&one)?;
    ensure!((status.state, status.exit_code) == (2, 137), "{status:?}");
    daemon.cri().remove(&one)?;
    ensure!(pod.is_ready()?);
    pod.end()
}

fn no_process(daemon: &Daemon) -> Result<()> {
    let pod = daemon.plain(SHIM, "no-process")?;
    let names = pod.processes();
    ensure!(names == ["containerd-shim"], "{names:?}");
    pod.wasm()?;
    pod.wasm()?;
    let names = pod.processes();
    ensure!(names == ["containerd-shim", "wherry-guest", "wherry-guest"], "{names:?}");
    pod.end()
}

fn files(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let pod = daemon.plain(handler, "files-0")?;
    let cri = daemon.cri();
    for container in [pod.wasm()?, pod.native()?] {
        ensure!(cri.told(&container, &["cat", "/etc/hostname"])? == "files-0\n");
        let resolv = "search default.svc svc\nnameserver 10.96.0.10\noptions ndots:5\n";
        let told = cri.told(&container, &["cat", "/etc/resolv.conf"])?;
        ensure!(told == resolv, "{told}");
        ensure!(cri.told(&container, &["cat", "/etc/hosts"])? == fs::read_to_string("/etc/hosts")?);
    }
    pod.end()?;
    // Without a name and a resolver of its own it has the node's.
    let mut config = daemon.config("files-1");
    (config.hostname, config.dns) = (String::new(), None);
    let pod = daemon.pod(handler, config)?;
    let container = pod.native()?;
    let node = fs::read_to_string("/etc/resolv.conf")?;
    ensure!(cri.told(&container, &["cat", "/etc/resolv.conf"])? == node);
    pod.end()
}

fn shm(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let pod = daemon.plain(handler, "shm")?;
    let (one, other) = (pod.native()?, pod.native()?);
    daemon.cri().told(&one, &["sh", "-c", "echo seen > /dev/shm/x"])?;
    ensure!(daemon.cri().told(&other, &["cat", "/dev/shm/x"])? == "seen\n");
    let mounts = daemon.cri().told(&other, &["cat", "/proc/mounts"])?;
    let shm = mounts.lines().find(|line| line.contains(" /dev/shm ")).unwrap_or_default();
    ensure!(shm.contains("size=65536k"), "{shm}");
    pod.end()
}

fn sysctls(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let mut config = daemon.config("sysctls");
    let asked = [("net.core.somaxconn", "321"), ("kernel.shm_rmid_forced", "1")];
    if let Some(linux) = &mut config.linux {
        linux.sysctls = asked.map(|(key, value)| (key.to_string(), value.to_string())).into();
    }
    let pod = daemon.pod(handler, config)?;
    let container = pod.native()?;
    let told = |key: &str| daemon.cri().told(&container, &["cat", &format!("/proc/sys/{key}")]);
    ensure!(told("net/core/somaxconn")? == "321\n");
    ensure!(told("kernel/shm_rmid_forced")? == "1\n");
    // What containerd gives to every pod, from 2.0 on.
    if daemon.containerd.version != Version::V1_7 {
        ensure!(told("net/ipv4/ip_unprivileged_port_start")? == "0\n");
        ensure!(told("net/ipv4/ping_group_range")? == "0\t2147483647\n");
    }
    pod.end()
}

/// `shareProcessNamespace`: the first process is the pod's own.
fn processes(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let mut config = daemon.config("processes");
    namespaces(&mut config, |namespaces| namespaces.pid = POD);
    let pod = daemon.pod(handler, config)?;
    let (wasm, native) = (pod.wasm()?, pod.native()?);
    ensure!(pod.namespace(&wasm, "pid")? == pod.namespace(&native, "pid")?);
    ensure!(pod.namespace(&wasm, "uts")? == pod.namespace(&native, "uts")?);
    let first = daemon.cri().told(&native, &["cat", "/proc/1/comm"])?;
    let pause = ["wherry-pause\n", "busybox\n", "sleep\n"];
    ensure!(pause.contains(&first.as_str()), "{first:?}");
    ensure!(daemon.cri().told(&native, &["/bin/busybox", "hostname"])? == "processes\n");
    pod.end()
}

fn of_node(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let mut config = daemon.config("of-node");
    config.hostname = String::new();
    namespaces(&mut config, |n| (n.network, n.pid, n.ipc) = (NODE, NODE, NODE));
    let pod = daemon.pod(handler, config)?;
    for container in [pod.wasm()?, pod.native()?] {
        for kind in ["net", "pid", "ipc", "uts"] {
            let (seen, own) = (pod.namespace(&container, kind)?, daemon.own_namespace(kind)?);
            ensure!(seen == own, "{kind}: {}, not {}", seen.display(), own.display());
        }
    }
    ensure!(daemon.cri().pod(&pod.id)?.ip().is_empty());
    pod.end()
}

fn refused(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let mut config = daemon.config("refused");
    if let Some(linux) = &mut config.linux {
        linux.sysctls = [("vm.swappiness".to_string(), "1".to_string())].into();
    }
    let error = match daemon.pod(handler, config) {
        Ok(pod) => return pod.end(),
        Err(error) => format!("{error:#}"),
    };
    ensure!(
        error.contains("linux.sysctl[vm.swappiness] is not kept apart by any namespace"),
        "{error}"
    );
    daemon.leaves_nothing()
}
