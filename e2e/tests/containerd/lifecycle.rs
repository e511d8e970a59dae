//! The life of a task, method by method, in right and in wrong orders.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use containerd_client::tonic::Code;
use serde_json::json;
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::{patient, until};
use wherry_e2e::leaks;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{RUN, Task};

const TERM: u32 = 15;
const KILL: u32 = 9;

pub(crate) const CASES: &[Case] = &[
    ("create_answers_a_live_pid_in_its_own_namespaces", For::Any, own_namespaces),
    ("a_created_task_is_killed_and_deleted", For::Any, killed_before_start),
    ("a_created_task_is_deleted_unstarted", For::Any, deleted_before_start),
    ("start_of_a_running_task_is_refused", For::Any, |w| {
        let task = running(w, "sleep")?;
        let refused = task.start().err().context("started twice")?;
        ensure!(refused.code != Code::NotFound, "{refused}");
        ends(task, KILL, 137)
    }),
    ("delete_of_a_running_task_is_refused", For::Any, |w| {
        let task = running(w, "sleep")?;
        ensure!(task.client().delete_task(&task.id).is_err(), "deleted while running");
        ensure!(task.client().state(&task.id)?.0 == TaskStatus::Running);
        ends(task, KILL, 137)
    }),
    ("kill_of_a_stopped_task_is_not_found", For::Any, kill_stopped),
    ("delete_twice_is_not_found", For::Any, |w| {
        let task = running(w, "sleep")?;
        let (client, id) = (task.client().clone(), task.id.clone());
        ends(task, KILL, 137)?;
        let refused = client.delete_task(&id).err().context("deleted twice")?;
        ensure!(refused.code == Code::NotFound, "{refused}");
        Ok(())
    }),
    ("wait_answers_everyone_with_the_code", For::Any, many_waiters),
    ("sigkill_ends_a_sleeping_program", For::Any, |w| ends(running(w, "sleep")?, KILL, 137)),
    ("sigkill_ends_a_spinning_program", For::Any, |w| ends(running(w, "spin")?, KILL, 137)),
    ("sigterm_ends_a_sleeping_program_at_once", For::Wherry, |w| at_once(w, "sleep", TERM)),
    ("sigterm_ends_a_sleeping_program_at_once_p2", For::Wherry, |w| at_once(w, "sleep-p2", TERM)),
    ("sigterm_ends_a_spinning_program_at_once", For::Wherry, |w| at_once(w, "spin", TERM)),
    ("sigterm_ends_a_spinning_program_at_once_p2", For::Wherry, |w| at_once(w, "spin-p2", TERM)),
    ("sigint_ends_a_spinning_program_at_once", For::Wherry, |w| at_once(w, "spin", 2)),
    ("sigquit_ends_a_spinning_program_at_once", For::Wherry, |w| at_once(w, "spin", 3)),
    ("state_tells_pid_and_code", For::Any, state),
    ("pids_are_those_of_the_program", For::Any, |w| {
        let task = running(w, "sleep")?;
        let pids = task.client().pids(&task.id)?;
        ensure!(pids.contains(&task.pid), "{pids:?} without {}", task.pid);
        ends(task, KILL, 137)
    }),
    ("metrics_are_there_before_and_after_the_end", For::Any, metrics),
    ("events_come_in_order", For::Wherry, events),
    ("containers_of_a_pod_share_a_shim_and_not_their_fate", For::Any, pod),
    ("ctr_run_shows_what_a_person_sees", For::Any, |w| {
        let image = w.image("exit")?;
        let words = [
            "run",
            "--rm",
            "--runtime",
            w.runtime().name(),
            &image.reference,
            "by-hand",
            "/exit.wasm",
            "42",
        ];
        let done = w.containerd.ctr_output(&words, b"")?;
        // containerd 2.4 itself may say on stderr what it thinks of version 1 of cgroups.
        ensure!(done.code == 42 && done.stdout.is_empty(), "{done}");
        Ok(())
    }),
    ("a_second_exec_of_a_missing_container_is_not_found", For::Any, |w| {
        let refused = w.containerd.client().exec("nobody", "e", json!({})).err().context("exec")?;
        ensure!(refused.code == Code::NotFound, "{refused}");
        Ok(())
    }),
];

pub(crate) fn running(world: &World, guest: &str) -> Result<Task> {
    let task = world.guest(guest)?.create(&world.containerd)?;
    task.start()?;
    task.says("ing\n")?;
    Ok(task)
}

pub(crate) fn ends(mut task: Task, signal: u32, code: i32) -> Result<()> {
    task.kill(signal)?;
    let ended = task.wait(RUN)?;
    ensure!(ended == code, "ended with {ended}");
    let remembered = task.delete()?;
    ensure!(remembered == code, "remembered as {remembered}");
    Ok(())
}

/// As fast as it would end by SIGKILL.
fn at_once(world: &World, guest: &str, signal: u32) -> Result<()> {
    let task = running(world, guest)?;
    let asked = Instant::now();
    task.kill(signal)?;
    let code = task.wait(RUN)?;
    let took = asked.elapsed();
    ensure!(code == 128 + signal as i32, "ended with {code}");
    ensure!(took < patient(Duration::from_millis(500)), "took {took:?}");
    ends_already(task, code)
}

fn ends_already(mut task: Task, code: i32) -> Result<()> {
    ensure!(task.delete()? == code);
    Ok(())
}

fn own_namespaces(world: &World) -> Result<()> {
    let mut task = world.guest("hello")?.create(&world.containerd)?;
    ensure!(task.client().state(&task.id)?.0 == TaskStatus::Created);
    for namespace in ["mnt", "net", "pid", "ipc", "uts"] {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        let theirs = of(task.pid).with_context(|| format!("{namespace} of pid {}", task.pid))?;
        ensure!(theirs != of(std::process::id())?, "{namespace} is that of the machine");
    }
    // It waits: nothing has run before Start.
    ensure!(task.so_far().is_empty(), "{:?}", task.so_far());
    let started = task.start()?;
    ensure!(started == task.pid, "created as {}, started as {started}", task.pid);
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    ensure!(!fs::exists(format!("/proc/{}/ns", task.pid))?, "pid {} still there", task.pid);
    Ok(())
}

fn killed_before_start(world: &World) -> Result<()> {
    let mut task = world.guest("hello")?.create(&world.containerd)?;
    task.kill(KILL)?;
    ensure!(task.wait(RUN)? == 137);
    ensure!(task.delete()? == 137);
    ensure!(task.output() == (String::new(), String::new()));
    Ok(())
}

fn deleted_before_start(world: &World) -> Result<()> {
    let mut task = world.guest("hello")?.create(&world.containerd)?;
    task.delete()?;
    ensure!(task.output() == (String::new(), String::new()));
    Ok(())
}

fn kill_stopped(world: &World) -> Result<()> {
    let mut task = world.guest("hello")?.create(&world.containerd)?;
    task.start()?;
    ensure!(task.wait(RUN)? == 0);
    let refused = task.kill(KILL).err().context("killed though it was over")?;
    ensure!(refused.code == Code::NotFound, "{refused}");
    task.delete()?;
    Ok(())
}

fn many_waiters(world: &World) -> Result<()> {
    let task = world.guest("exit")?.args(&["42"]).create(&world.containerd)?;
    let waiter = || {
        let (client, id) = (task.client().clone(), task.id.clone());
        std::thread::spawn(move || client.wait(&id, RUN))
    };
    let before = [waiter(), waiter(), waiter()];
    task.start()?;
    for waiter in before {
        ensure!(waiter.join().expect("no waiter panics")? == 42);
    }
    // After the end it is answered at once.
    ensure!(task.wait(Duration::from_secs(2))? == 42);
    ends_already(task, 42)
}

fn state(world: &World) -> Result<()> {
    let task = running(world, "sleep")?;
    let (status, pid, _) = task.client().state(&task.id)?;
    ensure!((status, pid) == (TaskStatus::Running, task.pid), "{status:?} {pid}");
    task.kill(KILL)?;
    task.wait(RUN)?;
    let (status, _, code) = task.client().state(&task.id)?;
    ensure!((status, code) == (TaskStatus::Stopped, 137), "{status:?} {code}");
    ends_already(task, 137)
}

fn metrics(world: &World) -> Result<()> {
    let task = running(world, "sleep")?;
    // containerd's type for the version of cgroups that the node has; another breaks a node's statistics.
    let version = if fs::exists("/sys/fs/cgroup/cgroup.controllers")? { "v2" } else { "v1" };
    let kind = format!("io.containerd.cgroups.{version}.Metrics");
    let metrics = task.client().metrics(&task.id)?;
    ensure!(metrics.type_url == kind && !metrics.value.is_empty(), "{}", metrics.type_url);
    task.kill(KILL)?;
    task.wait(RUN)?;
    if world.runtime() == wherry_e2e::rig::Runtime::Wherry {
        let metrics = task.client().metrics(&task.id)?;
        ensure!(metrics.type_url == kind, "after the end: {}", metrics.type_url);
    }
    ends_already(task, 137)
}

fn pod(world: &World) -> Result<()> {
    let member = |number: u32| -> Result<Task> {
        let id = format!("pod-member-{number}");
        let container = world.guest("sleep")?.id(&id);
        let container = container.annotation("io.kubernetes.cri.sandbox-id", "pod-member-1");
        let container = container.annotation("io.kubernetes.cri.container-type", "container");
        let task = container.create(&world.containerd)?;
        task.start()?;
        task.says("sleeping")?;
        Ok(task)
    };
    let (first, second, third) = (member(1)?, member(2)?, member(3)?);
    let shim = |task: &Task| leaks::shim_of(&world.containerd, &task.id);
    ensure!(shim(&first).is_some() && shim(&second).is_none() && shim(&third).is_none());
    // The container that the shim is named after goes; the others stay.
    ends(first, KILL, 137)?;
    ends(second, KILL, 137)?;
    ensure!(third.client().state(&third.id)?.0 == TaskStatus::Running);
    ends(third, KILL, 137)
}

fn events(world: &World) -> Result<()> {
    let events = world.containerd.client().events()?;
    let mut task = world.guest("hello")?.create(&world.containerd)?;
    task.start()?;
    task.wait(RUN)?;
    task.delete()?;
    let expected = ["create", "start", "exit", "delete"];
    ensure!(
        until(RUN, || events.of(&task.id).len() >= expected.len()),
        "{:?}",
        events.of(&task.id)
    );
    ensure!(events.of(&task.id) == expected, "{:?}", events.of(&task.id));
    Ok(())
}
