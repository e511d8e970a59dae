//! From `docker create` to `docker rm`: states, signals, codes, logs and events in their order.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wherry_e2e::command;
use wherry_e2e::docker::Docker;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, SOON, soon};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("detached_is_watched_stopped_and_removed", For::Any, detached),
    ("kill_ends_with_137_and_wait_tells_it", For::Any, killed),
    ("rm_f_ends_a_program_that_spins", For::Any, |d| {
        let spins = Kept::guest(d, "spin", &[], &[])?;
        spins.done(&["rm", "--force"])?;
        ensure!(spins.status().is_err());
        Ok(())
    }),
    ("a_signal_ends_a_program_with_128_and_its_number", For::Wherry, signals),
    ("stop_signal_is_what_stop_sends", For::Wherry, stop_signal),
    ("stop_timeout_is_how_long_stop_waits", For::Any, stop_timeout),
    ("pause_stops_and_unpause_goes_on", For::Any, paused),
    ("a_paused_container_is_stopped_killed_and_removed", For::Any, paused_end),
    ("restart_starts_again_and_again", For::Any, again),
    ("rename_and_state_of_one_that_was_only_created", For::Any, created),
    ("oom_is_told_as_the_reason", For::Wherry, oom),
    ("events_tell_a_life_in_its_order", For::Any, events),
    ("logs_follow_a_program_to_its_end", For::Any, logs_follow),
    ("logs_have_ends_and_times", For::Any, logs),
    ("logs_of_another_driver", For::Any, log_driver),
];

fn detached(docker: &Docker) -> Result<()> {
    let sleeps = Kept::guest(docker, "sleep", &[], &[])?;
    soon(|| sleeps.done(&["logs"]), |logs| logs == "sleeping")?;
    let state = sleeps.state()?;
    ensure!(state["Status"] == "running" && state["Pid"].as_u64() > Some(0), "{state}");
    let top = sleeps.done(&["top"])?;
    ensure!(top.lines().count() == 2 && top.contains(&state["Pid"].to_string()), "{top}");
    ensure!(top.contains("/sleep"), "the program is not in: {top}");
    let stats = sleeps.done(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}"])?;
    ensure!(!stats.starts_with("0 ") && !stats.contains(" 0B /"), "{stats}");
    let stopping = Instant::now();
    // What `sleep` does with SIGTERM differs: Wasm ends at once, a native init process ignores it.
    sleeps.done(&["stop", "--time", "5"])?;
    if docker.world().runtime() == Runtime::Wherry {
        ensure!(stopping.elapsed() < Duration::from_secs(5), "stop took {:?}", stopping.elapsed());
        let state = sleeps.state()?;
        ensure!(state["Status"] == "exited" && state["ExitCode"] == 143, "{state}");
    }
    sleeps.done(&["rm"])?;
    Ok(())
}

fn killed(docker: &Docker) -> Result<()> {
    let spins = Kept::guest(docker, "spin", &[], &[])?;
    let mut wait = docker.command(&["wait", &spins.id]);
    let mut wait = wait.stdout(Stdio::piped()).spawn()?;
    spins.done(&["kill"])?;
    ensure!(command::wait(&mut wait, SOON)? == 0);
    let mut told = String::new();
    wait.stdout.take().context("stdout")?.read_to_string(&mut told)?;
    ensure!(told == "137\n", "{told}");
    // And once more, when it is over.
    ensure!(spins.ended()? == 137);
    Ok(())
}

/// What a signal does to a program that handles none, of pid 1 too: a guest can't handle any.
fn signals(docker: &Docker) -> Result<()> {
    for (name, code) in [("HUP", 129), ("INT", 130), ("USR1", 138), ("15", 143), ("KILL", 137)] {
        let idle = Kept::idle(docker, &[])?;
        idle.done(&["kill", "--signal", name])?;
        ensure!(idle.ended()? == code, "{name}: {}", idle.state()?);
    }
    let idle = Kept::idle(docker, &[])?;
    for name in ["CONT", "WINCH", "CHLD", "URG"] {
        idle.done(&["kill", "--signal", name])?;
    }
    ensure!(idle.script("echo still here")? == "still here\n");
    Ok(())
}

fn stop_signal(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--stop-signal", "QUIT"])?;
    idle.done(&["stop"])?;
    ensure!(idle.ended()? == 131, "{}", idle.state()?);
    Ok(())
}

fn stop_timeout(docker: &Docker) -> Result<()> {
    // A signal that does nothing, so that stop waits for its second and kills.
    let options = ["--stop-timeout", "1", "--stop-signal", "WINCH"];
    let idle = Kept::idle(docker, &options)?;
    let stopping = Instant::now();
    idle.done(&["stop"])?;
    ensure!(stopping.elapsed() >= Duration::from_secs(1), "{:?}", stopping.elapsed());
    ensure!(idle.ended()? == 137, "{}", idle.state()?);
    Ok(())
}

fn paused(docker: &Docker) -> Result<()> {
    let counts = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.02; done";
    let counting = Kept::tool(docker, &[], &["sh", "-c", counts])?;
    let copy = || docker.docker(&["cp", &format!("{}:/count", counting.id), "-"], "");
    soon(copy, |count| count.code == 0)?;
    counting.done(&["pause"])?;
    ensure!(counting.status()? == "paused");
    let still = copy()?;
    ensure!(copy()? == still, "it counts on");
    counting.done(&["unpause"])?;
    ensure!(counting.status()? == "running");
    soon(copy, |count| *count != still)?;
    Ok(())
}

fn paused_end(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--stop-timeout", "1"])?;
    idle.done(&["pause"])?;
    idle.done(&["stop"])?;
    ensure!(idle.status()? == "exited", "{}", idle.state()?);
    idle.done(&["start"])?;
    idle.done(&["pause"])?;
    idle.done(&["kill"])?;
    ensure!(idle.ended()? == 137, "{}", idle.state()?);
    idle.done(&["start"])?;
    idle.done(&["pause"])?;
    idle.done(&["rm", "--force"])?;
    ensure!(idle.status().is_err());
    Ok(())
}

fn again(docker: &Docker) -> Result<()> {
    let idle = Kept::tool(docker, &[], &["sh", "-c", "echo began >> /begun; sleep 1000"])?;
    for times in 1..4 {
        soon(|| idle.script("cat /begun"), |begun| begun.lines().count() == times)?;
        idle.done(&["restart", "--time", "1"])?;
        ensure!(idle.status()? == "running", "{}", idle.state()?);
    }
    Ok(())
}

fn created(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().toolbox()?)?;
    let made = Kept::container(docker, "create", &image, &["--name", "made"], &["sleep", "1000"])?;
    ensure!(made.status()? == "created");
    docker.ask(&["rename", "made", "renamed"])?;
    docker.ask(&["start", "renamed"])?;
    ensure!(made.status()? == "running");
    let refused = docker.docker(&["rm", "renamed"], "")?;
    ensure!(refused.code == 1 && refused.stderr.contains("is running"), "{refused}");
    Ok(())
}

/// Of the same program, whose tmpfs is charged to its cgroup.
fn oom(docker: &Docker) -> Result<()> {
    let since = now()?;
    let options = ["--memory", "64m", "--memory-swap", "64m", "--tmpfs", "/t"];
    let dies = Kept::guest(docker, "oom", &options, &["files", "/t"])?;
    ensure!(dies.ended()? == 137);
    let state = dies.state()?;
    ensure!(state["OOMKilled"] == true, "{state}");
    let told = soon(|| told(docker, &since, &dies.id), |told| told.ends_with(&["die 137".into()]))?;
    ensure!(told == ["create", "start", "oom", "die 137"], "{told:?}");
    Ok(())
}

fn now() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(format!("{}.{:09}", now.as_secs(), now.subsec_nanos()))
}

/// Events of a container up to now, with the code where one ended and the signal where one was sent.
fn told(docker: &Docker, since: &str, id: &str) -> Result<Vec<String>> {
    let filter = format!("container={id}");
    let until = now()?;
    let words = ["events", "--since", since, "--until", &until, "--filter", &filter];
    let told = docker.ask(&[&words[..], &["--format", "{{json .}}"]].concat())?;
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line)?;
        let said = |name: &str| event["Actor"]["Attributes"][name].as_str();
        let number = said("exitCode").or(said("signal")).unwrap_or_default();
        let action = event["Action"].as_str().unwrap_or_default().trim_end();
        Ok(format!("{action} {number}").trim_end().to_string())
    };
    told.lines().map(event).collect()
}

fn events(docker: &Docker) -> Result<()> {
    let since = now()?;
    let idle = Kept::idle(docker, &[])?;
    idle.exec(&[], &["sh", "-c", "exit 3"], "")?;
    idle.done(&["pause"])?;
    idle.done(&["unpause"])?;
    docker.ask(&["update", "--cpus", "1", &idle.id])?;
    idle.done(&["kill", "--signal", "KILL"])?;
    idle.ended()?;
    idle.done(&["start"])?;
    idle.done(&["rm", "--force"])?;
    let told = soon(
        || told(docker, &since, &idle.id),
        |told| told.last().is_some_and(|last| last == "destroy"),
    )?;
    let expected = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die 3",
        "pause",
        "unpause",
        "update",
        "kill 9",
        "die 137",
        "start",
        "kill 9",
        "die 137",
        "destroy",
    ];
    ensure!(told == expected, "{told:?}");
    Ok(())
}

fn logs_follow(docker: &Docker) -> Result<()> {
    let text =
        "echo first; until test -f /go; do sleep 0.05; done; echo aside >&2; echo last; exit 4";
    let tells = Kept::tool(docker, &[], &["sh", "-c", text])?;
    let mut follow = docker.command(&["logs", "--follow", &tells.id]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().context("stdout")?).lines();
    // It comes while the program runs.
    ensure!(lines.next().context("no line")?? == "first");
    ensure!(follow.try_wait()?.is_none(), "logs ended before the program");
    // The program may be over, and its container with it, before this has ended.
    tells.exec(&[], &["touch", "/go"], "")?;
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let mut aside = String::new();
    follow.stderr.take().context("stderr")?.read_to_string(&mut aside)?;
    ensure!(command::wait(&mut follow, SOON)? == 0);
    ensure!(rest == ["last"] && aside == "aside\n", "{rest:?} {aside:?}");
    ensure!(tells.ended()? == 4);
    Ok(())
}

fn logs(docker: &Docker) -> Result<()> {
    let tells = Kept::tool(docker, &[], &["seq", "1", "1000"])?;
    ensure!(tells.ended()? == 0);
    soon(|| tells.done(&["logs"]), |logs| logs.lines().count() == 1000)?;
    ensure!(tells.done(&["logs", "--tail", "2"])? == "999\n1000");
    let timed = tells.done(&["logs", "--tail", "1", "--timestamps"])?;
    let (time, line) = timed.split_once(' ').context("no time")?;
    ensure!(time.ends_with('Z') && line == "1000", "{timed}");
    // Before it began there was nothing.
    let before = tells.done(&["logs", "--until", "2020-01-01T00:00:00Z"])?;
    ensure!(before.is_empty(), "{before}");
    Ok(())
}

fn log_driver(docker: &Docker) -> Result<()> {
    for (driver, expected) in [("local", Some("here")), ("none", None)] {
        let tells = Kept::tool(docker, &["--log-driver", driver], &["echo", "here"])?;
        ensure!(tells.ended()? == 0);
        match expected {
            Some(line) => {
                soon(|| tells.done(&["logs"]), |logs| logs == line)?;
            }
            None => ensure!(tells.done(&["logs"]).is_err(), "{driver} kept something"),
        }
    }
    Ok(())
}
