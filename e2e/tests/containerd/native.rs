//! Ordinary containers under our runtime: the sidecars, init and debug containers of a pod.
//!
//! Each case says what any container does, so all but the last also hold for containerd's own shim.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::{Output, until};
use wherry_e2e::image::Recipe;
use wherry_e2e::rig;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};

use crate::examples::is;
use crate::lifecycle::ends;

const KILL: u32 = 9;

pub(crate) const CASES: &[Case] = &[
    ("native_output_and_code_come_through", For::Any, |w| {
        let done = shell(w, "echo out; echo err >&2; exit 7")?.run(&w.containerd)?;
        is(done, 7, "out\n", "err\n")
    }),
    ("native_scripts_run", For::Any, script),
    ("native_stdin_is_copied_to_its_end", For::Any, |w| {
        let cat = Container::of(&w.busybox()?).args(&["cat"]).stdin("one\ntwo");
        is(cat.run(&w.containerd)?, 0, "one\ntwo", "")
    }),
    ("native_terminals_are_terminals", For::Any, |w| {
        let on_terminal = shell(w, "test -t 0 && test -t 1 && echo yes")?.terminal();
        is(on_terminal.run(&w.containerd)?, 0, "yes\r\n", "")
    }),
    ("native_programs_that_are_missing_are_told", For::Any, missing),
    ("native_execs_end_with_their_codes", For::Any, execs),
    ("native_signals_are_handled_or_kill", For::Any, signals),
    ("native_pids_are_all_of_them", For::Any, pids),
    ("native_containers_pause_and_go_on", For::Any, pause),
    ("native_metrics_are_those_of_the_container", For::Any, metrics),
    ("native_want_of_memory_is_told_before_the_end", For::Any, out_of_memory),
    ("native_execs_want_of_memory_is_told_at_once", For::Any, exec_out_of_memory),
    ("native_processes_end_with_their_init", For::Any, init_killed),
    ("native_containers_deleted_unstarted_leave_nothing", For::Any, |w| {
        let mut task = shell(w, "echo no")?.create(&w.containerd)?;
        ensure!(task.client().state(&task.id)?.0 == TaskStatus::Created);
        task.delete()?;
        ensure!(task.output() == (String::new(), String::new()));
        Ok(())
    }),
    ("native_specs_are_not_held_to_what_wasm_can", For::Any, |w| {
        let nice = shell(w, "echo fine")?.edit(|spec| {
            spec["process"]["ioPriority"] =
                serde_json::json!({ "class": "IOPRIO_CLASS_BE", "priority": 7 });
        });
        is(nice.run(&w.containerd)?, 0, "fine\n", "")
    }),
    ("native_and_wasm_containers_share_a_pod", For::Wherry, pod),
];

fn shell(world: &World, script: &str) -> Result<Container> {
    Ok(Container::of(&world.busybox()?).args(&["sh", "-c", script]))
}

fn running(world: &World, script: &str) -> Result<Task> {
    let task = shell(world, &format!("echo running; {script}"))?.create(&world.containerd)?;
    task.start()?;
    task.says("running\n")?;
    Ok(task)
}

fn script(world: &World) -> Result<()> {
    let busybox = std::fs::read(rig::busybox()?)?;
    let recipe = Recipe::program("wherry.test/script:latest", "bin/busybox", busybox)
        .file("run.sh", b"#!/bin/busybox sh\necho script $1\n")
        .entrypoint(&["/run.sh"]);
    let done = Container::of(&world.pack(recipe)?).args(&["one"]).run(&world.containerd)?;
    is(done, 0, "script one\n", "")
}

fn missing(world: &World) -> Result<()> {
    let nothing = Container::of(&world.busybox()?)
        .edit(|spec| spec["process"]["args"] = serde_json::json!(["nothing"]));
    let refused = nothing.create(&world.containerd).err().context("created")?;
    let words = "exec: \"nothing\": executable file not found in $PATH";
    ensure!(refused.to_string().contains(words), "{refused}");
    Ok(())
}

fn exec(world: &World, task: &Task, name: &str, words: &[&str]) -> Result<Output> {
    let fixed = ["task", "exec", "--exec-id", name, &task.id];
    world.containerd.ctr_output(&[&fixed, words].concat(), b"")
}

fn execs(world: &World) -> Result<()> {
    let task = running(world, "exec busybox sleep 1d")?;
    let done = exec(world, &task, "e1", &["/bin/busybox", "sh", "-c", "echo inside; exit 6"])?;
    ensure!(done.code == 6 && done.stdout == "inside\n", "{done}");
    let gone = exec(world, &task, "e2", &["nothing"])?;
    let words = "OCI runtime exec failed: ";
    ensure!(gone.code != 0 && gone.stderr.contains(words), "{gone}");
    ensure!(gone.stderr.contains("executable file not found in $PATH"), "{gone}");
    // A name is free again once its exec has been deleted.
    let done = exec(world, &task, "e1", &["/bin/busybox", "true"])?;
    ensure!(done.code == 0, "{done}");
    ends(task, KILL, 137)
}

fn signals(world: &World) -> Result<()> {
    // It says so once it handles the signal, which its pid namespace's first process could ignore before.
    let script = "trap 'exit 3' TERM; echo handles; while :; do busybox sleep 0.05; done";
    let handles = shell(world, script)?.create(&world.containerd)?;
    handles.start()?;
    handles.says("handles\n")?;
    ends(handles, 15, 3)?;
    ends(running(world, "exec busybox sleep 1d")?, KILL, 137)
}

fn pids(world: &World) -> Result<()> {
    let task = running(world, "/bin/busybox sleep 1d && exit 0")?;
    let all = || task.client().pids(&task.id);
    ensure!(until(RUN, || all().is_ok_and(|pids| pids.len() == 2)), "{:?}", all());
    ensure!(all()?.contains(&task.pid), "{:?} without {}", all()?, task.pid);
    ends(task, KILL, 137)
}

fn pause(world: &World) -> Result<()> {
    let task = running(world, "while :; do busybox sleep 0.05; done")?;
    let state = || task.client().state(&task.id).map(|(status, ..)| status);
    world.containerd.ctr_output(&["task", "pause", &task.id], b"")?.ok()?;
    ensure!(state()? == TaskStatus::Paused, "{:?}", state()?);
    world.containerd.ctr_output(&["task", "resume", &task.id], b"")?.ok()?;
    ensure!(state()? == TaskStatus::Running, "{:?}", state()?);
    ends(task, KILL, 137)
}

fn metrics(world: &World) -> Result<()> {
    let created = shell(world, "exit 0")?.create(&world.containerd)?;
    ensure!(!created.client().metrics(&created.id)?.value.is_empty());
    drop(created);
    let task = running(world, "exec busybox sleep 1d")?;
    ensure!(!task.client().metrics(&task.id)?.value.is_empty());
    ends(task, KILL, 137)
}

fn out_of_memory(world: &World) -> Result<()> {
    // A line without end, all of which has to be kept.
    killed_for_memory(world, shell(world, "exec busybox tail /dev/zero")?)
}

/// It takes more than 32 MB, and the kernel ends it: the reason comes before the exit.
pub(crate) fn killed_for_memory(world: &World, taking: Container) -> Result<()> {
    let events = world.containerd.client().events()?;
    let mut task = taking.memory(32 << 20).create(&world.containerd)?;
    task.start()?;
    ensure!(task.wait(RUN)? == 137);
    task.delete()?;
    let told = || events.of(&task.id);
    ensure!(until(RUN, || told().last().is_some_and(|last| last == "delete")), "{:?}", told());
    let place = |name: &str| told().iter().position(|event| event == name);
    ensure!(place("oom").is_some() && place("oom") < place("exit"), "{:?}", told());
    Ok(())
}

/// The kernel ends the exec, and the container goes on.
fn exec_out_of_memory(world: &World) -> Result<()> {
    let events = world.containerd.client().events()?;
    let idle = shell(world, "exec busybox sleep 1d")?.memory(32 << 20);
    let task = idle.create(&world.containerd)?;
    task.start()?;
    let done = exec(world, &task, "e1", &["/bin/busybox", "tail", "/dev/zero"])?;
    ensure!(done.code == 137, "{done}");
    let told = || events.of(&task.id);
    ensure!(until(RUN, || told().iter().any(|event| event == "oom")), "{:?}", told());
    ends(task, KILL, 137)
}

/// In the machine's own pid namespace the kernel ends nothing but the init itself.
fn init_killed(world: &World) -> Result<()> {
    let shared = shell(world, "busybox sleep 86401 & echo $!; wait")?.edit(|spec| {
        if let Some(all) = spec["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "pid");
        }
    });
    let mut task = shared.create(&world.containerd)?;
    task.start()?;
    task.says("\n")?;
    let child = task.so_far().trim().to_owned();
    // A dead process that nobody has taken yet has no program any more.
    let alive = || std::fs::read_link(format!("/proc/{child}/exe")).is_ok();
    ensure!(alive(), "{child} is not the machine's");
    task.kill(KILL)?;
    ensure!(task.wait(RUN)? == 137);
    ensure!(until(Duration::from_secs(2), || !alive()), "{child} outlives the container");
    task.delete()?;
    Ok(())
}

fn pod(world: &World) -> Result<()> {
    let member = |container: Container, id: &str| {
        container
            .id(id)
            .annotation("io.kubernetes.cri.sandbox-id", "mixed-pod")
            .annotation("io.kubernetes.cri.container-type", "container")
    };
    let pause = member(shell(world, "echo pause; exec busybox sleep 1d")?, "mixed-pod");
    let pause = pause.create(&world.containerd)?;
    pause.start()?;
    pause.says("pause")?;
    let guest = member(world.guest("sleep")?, "mixed-guest").create(&world.containerd)?;
    guest.start()?;
    guest.says("sleeping")?;
    let sidecar = member(shell(world, "echo beside; exit 4")?, "mixed-sidecar");
    is(sidecar.run(&world.containerd)?, 4, "beside\n", "")?;
    ends(pause, KILL, 137)?;
    ensure!(guest.client().state(&guest.id)?.0 == TaskStatus::Running);
    ends(guest, KILL, 137)
}
