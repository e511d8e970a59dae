//! How pods end: asked to, killed, and with containerd away.

use std::time::Duration;

use anyhow::{Result, ensure};
use wherry_e2e::command::{kill_9, until};
use wherry_e2e::containerd::Containerd;
use wherry_e2e::cri::POD;
use wherry_e2e::leaks;
use wherry_e2e::suite::{Case, For};

use crate::daemon::Daemon;
use crate::pods::{PODSANDBOX, SHIM, namespaces};

pub(crate) const CASES: &[Case<Daemon>] = &[
    ("a_pod_is_removed_while_it_runs", For::Any, |d| removed(d, PODSANDBOX)),
    ("shim_a_pod_is_removed_while_it_runs", For::Wherry, |d| removed(d, SHIM)),
    // containerd's own shim leaves its socket.
    ("a_pod_whose_shim_is_killed_is_not_ready_and_leaves_nothing", For::Wherry, |d| {
        killed(d, PODSANDBOX)
    }),
    ("shim_a_pod_whose_shim_is_killed_is_not_ready_and_leaves_nothing", For::Wherry, |d| {
        killed(d, SHIM)
    }),
    ("shim_a_pod_whose_first_process_is_killed_is_not_ready", For::Wherry, first_killed),
    ("a_pod_outlives_a_restart_of_containerd", For::Any, |d| away(d, PODSANDBOX, Containerd::stop)),
    ("shim_a_pod_outlives_a_restart_of_containerd", For::Wherry, |d| {
        away(d, SHIM, Containerd::stop)
    }),
    ("a_pod_outlives_a_crash_of_containerd", For::Any, |d| away(d, PODSANDBOX, Containerd::crash)),
    ("shim_a_pod_outlives_a_crash_of_containerd", For::Wherry, |d| {
        away(d, SHIM, Containerd::crash)
    }),
    (
        "shim_a_pod_that_is_killed_while_containerd_is_away_leaves_nothing",
        For::Wherry,
        killed_meanwhile,
    ),
];

const PATIENCE: Duration = Duration::from_secs(20);

fn removed(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let pod = daemon.plain(handler, "removed")?;
    pod.wasm()?;
    pod.native()?;
    daemon.cri().remove_pod(&pod.id)?;
    daemon.leaves_nothing()
}

fn killed(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let pod = daemon.plain(handler, "killed")?;
    let containers = [pod.wasm()?, pod.native()?];
    kill_9(pod.shim()?)?;
    let down = until(PATIENCE, || pod.is_ready().is_ok_and(|ready| !ready));
    ensure!(down, "the pod is ready without a shim");
    for container in &containers {
        let ended =
            until(PATIENCE, || daemon.cri().container(container).is_ok_and(|c| c.state == 2));
        ensure!(ended, "a container runs without a shim");
    }
    pod.end()?;
    // Its name is free, and the next one works.
    let pod = daemon.plain(handler, "killed")?;
    pod.wasm()?;
    pod.end()
}

fn first_killed(daemon: &Daemon) -> Result<()> {
    let mut config = daemon.config("first-killed");
    namespaces(&mut config, |namespaces| namespaces.pid = POD);
    let pod = daemon.pod(SHIM, config)?;
    let container = pod.wasm()?;
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = leaks::pids_of_containers(&daemon.containerd);
    let first = all.into_iter().find(|pid| name(pid) == "wherry-pause\n");
    kill_9(first.expect("a first process"))?;
    let down = until(PATIENCE, || pod.is_ready().is_ok_and(|ready| !ready));
    ensure!(down, "the pod is ready without its first process");
    // With the first process of its namespace goes everybody in it (pid_namespaces(7)).
    let ended = until(PATIENCE, || daemon.cri().container(&container).is_ok_and(|c| c.state == 2));
    ensure!(ended, "a container outlives the first process of its namespace");
    pod.end()
}

fn away(daemon: &Daemon, handler: &'static str, end: fn(&Containerd) -> Result<()>) -> Result<()> {
    let pod = daemon.plain(handler, "away")?;
    let (wasm, native) = (pod.wasm()?, pod.native()?);
    let before = [daemon.cri().pid(&wasm)?, daemon.cri().pid(&native)?];
    daemon.restart(end)?;
    ensure!(pod.is_ready()?);
    ensure!([daemon.cri().pid(&wasm)?, daemon.cri().pid(&native)?] == before);
    ensure!(daemon.cri().told(&wasm, &["cat", "/etc/hostname"])? == "away\n");
    // One that comes now is in the same pod, and has its files.
    let late = pod.native()?;
    ensure!(pod.namespace(&late, "uts")? == pod.namespace(&wasm, "uts")?);
    ensure!(daemon.cri().told(&late, &["cat", "/etc/hostname"])? == "away\n");
    pod.end()
}

fn killed_meanwhile(daemon: &Daemon) -> Result<()> {
    let pod = daemon.plain(SHIM, "meanwhile")?;
    pod.wasm()?;
    pod.native()?;
    let shim = pod.shim()?;
    daemon.containerd.stop()?;
    kill_9(shim)?;
    daemon.containerd.resume()?;
    daemon.ready()?;
    let down = until(PATIENCE, || pod.is_ready().is_ok_and(|ready| !ready));
    ensure!(down, "the pod is ready without a shim");
    pod.end()
}
