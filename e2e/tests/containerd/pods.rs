//! The sandbox of a Kubernetes pod, made as containerd's CRI plugin makes it, and containers that join it.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::until;
use wherry_e2e::exec::Exec;
use wherry_e2e::leaks;
use wherry_e2e::measure;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};

use crate::lifecycle::ends;

pub(crate) const CASES: &[Case] = &[
    ("a_pods_sandbox_runs_nothing_of_its_image", For::Wherry, own_process),
    ("a_pods_sandbox_ends_as_the_pause_image_does", For::Wherry, stops),
    ("a_pods_sandbox_holds_the_namespaces_of_its_containers", For::Wherry, holds),
    ("a_pods_sandbox_reaps_what_others_leave", For::Wherry, reaps),
    ("a_pods_sandbox_killed_before_its_start_is_gone", For::Wherry, |w| {
        ends(sandbox(w, "early")?.create(&w.containerd)?, KILL, 137)
    }),
];

const TERM: u32 = 15;
const KILL: u32 = 9;

/// Its image holds no program of that name at all.
pub(crate) fn sandbox(world: &World, pod: &str) -> Result<Container> {
    let container = member(Container::of(&world.busybox()?), pod);
    Ok(container
        .id(pod)
        .annotation("io.kubernetes.cri.container-type", "sandbox")
        .edit(|spec| spec["process"]["args"] = json!(["/pause"])))
}

fn member(container: Container, pod: &str) -> Container {
    container.annotation("io.kubernetes.cri.sandbox-id", pod)
}

fn running(world: &World, pod: &str) -> Result<Task> {
    let task = sandbox(world, pod)?.create(&world.containerd)?;
    task.start()?;
    Ok(task)
}

/// In these namespaces of the sandbox, as the CRI plugin has it.
pub(crate) fn joined(
    container: Container,
    sandbox: &Task,
    kinds: &'static [&'static str],
) -> Container {
    let (pid, pod) = (sandbox.pid, sandbox.id.clone());
    member(container, &pod).edit(move |spec| {
        let Some(all) = spec["linux"]["namespaces"].as_array_mut() else { return };
        for namespace in all {
            let kind = namespace["type"].as_str().unwrap_or_default().to_string();
            if kinds.contains(&kind.as_str()) {
                let file = match kind.as_str() {
                    "network" => "net",
                    other => other,
                };
                namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
            }
        }
    })
}

fn own_process(world: &World) -> Result<()> {
    let pod = running(world, "own-process")?;
    let words = fs::read_to_string(format!("/proc/{}/cmdline", pod.pid))?;
    ensure!(words.starts_with("wherry-pause"), "{words:?}");
    let name = fs::read_to_string(format!("/proc/{}/comm", pod.pid))?;
    ensure!(name == "wherry-pause\n", "{name}");
    // Its code is the shim's, which is there anyway.
    let size = measure::own_size(&measure::process(pod.pid));
    ensure!(0 < size && size < 500_000, "{size} bytes");
    ends(pod, KILL, 137)
}

fn stops(world: &World) -> Result<()> {
    let pod = running(world, "stops")?;
    // What would end any other program does not end this one (signal(7): the default for SIGUSR1 is to end, but
    // not for an init).
    pod.kill(10)?;
    ensure!(pod.client().state(&pod.id)?.0 == TaskStatus::Running);
    ends(pod, TERM, 0)
}

fn holds(world: &World) -> Result<()> {
    let pod = running(world, "holds")?;
    let kinds = &["network", "ipc", "uts"];
    let guest = joined(world.guest("sleep")?, &pod, kinds).create(&world.containerd)?;
    guest.start()?;
    guest.says("sleeping")?;
    for kind in ["net", "ipc", "uts"] {
        let of = |pid| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        ensure!(of(guest.pid)? == of(pod.pid)?, "another {kind} namespace");
    }
    let said = Exec::of(&["echo", "in the pod"]).run(&guest)?;
    ensure!(said.code == 0 && said.stdout == "in the pod\n", "{said}");
    let shims = leaks::shim_of(&world.containerd, &guest.id);
    ensure!(shims.is_none(), "a shim of its own: {shims:?}");
    ends(guest, KILL, 137)?;
    ends(pod, KILL, 137)
}

/// `shareProcessNamespace`: what a container leaves behind becomes a child of the sandbox.
fn reaps(world: &World) -> Result<()> {
    let pod = running(world, "reaps")?;
    let script = "busybox sh -c 'busybox sleep 1 & echo left'; busybox sleep 1d";
    let native = Container::of(&world.busybox()?).args(&["sh", "-c", script]);
    let native = joined(native, &pod, &["network", "ipc", "uts", "pid"]);
    let native = native.create(&world.containerd)?;
    native.start()?;
    native.says("left")?;
    let children = || -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{0}/task/{0}/children", pod.pid))?)
    };
    ensure!(until(RUN, || children().is_ok_and(|pids| !pids.is_empty())), "nothing was left");
    ensure!(until(RUN, || children().is_ok_and(|pids| pids.is_empty())), "a zombie stays");
    ends(native, KILL, 137)?;
    ends(pod, KILL, 137)
}
