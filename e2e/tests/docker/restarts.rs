//! Restart policies, and the daemon's own ends: containers that live on without it, and those that come back.

use anyhow::{Result, ensure};
use rustix::process::Signal;
use wherry_e2e::docker::Docker;
use wherry_e2e::leaks;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, soon};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("containers_live_on_without_the_daemon", For::Any, |_| on_its_own(lives_on)),
    ("policies_say_who_comes_back_with_the_daemon", For::Any, |_| on_its_own(comes_back)),
    ("restart_on_failure_gives_up_after_its_times", For::Any, on_failure),
    ("restart_always_ends_with_stop_only", For::Any, always),
    ("restart_of_a_program_that_did_well_is_for_always_only", For::Any, did_well),
];

/// On a daemon that nobody else needs, which leaves nothing either.
fn on_its_own(case: fn(&Docker) -> Result<()>) -> Result<()> {
    let docker = Docker::chosen()?;
    case(&docker)?;
    docker.close()?;
    leaks::after(&docker.world().containerd)
}

fn lives_on(docker: &Docker) -> Result<()> {
    docker.end(Signal::TERM)?;
    docker.configure(true)?;
    docker.start()?;
    let counts = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done";
    let counting = Kept::tool(docker, &[], &["sh", "-c", counts])?;
    let shell = Kept::tool(docker, &["-it"], &["sh"])?;
    let paused = Kept::idle(docker, &[])?;
    paused.done(&["pause"])?;
    // Ends while nobody looks.
    let text = "until test -f /go; do sleep 0.05; done; echo gone; sleep 0.3; exit 9";
    let ends = Kept::tool(docker, &[], &["sh", "-c", text])?;
    let (pid, ends_pid) = (counting.pid()?, ends.pid()?);
    for signal in [Signal::TERM, Signal::KILL] {
        if signal == Signal::KILL {
            ends.exec(&[], &["touch", "/go"], "")?;
        }
        docker.end(signal)?;
        if signal == Signal::KILL {
            let there = || Ok(std::path::Path::new(&format!("/proc/{ends_pid}")).exists());
            soon(there, |there| !there)?;
        }
        docker.start()?;
        ensure!(counting.pid()? == pid && counting.status()? == "running");
        ensure!(paused.status()? == "paused", "{}", paused.state()?);
        ensure!(shell.status()? == "running", "{}", shell.state()?);
    }
    ensure!(ends.ended()? == 9 && ends.status()? == "exited", "{}", ends.state()?);
    // Its output comes through again, and execs work.
    let lines = counting.done(&["logs"])?.lines().count();
    soon(|| Ok(counting.done(&["logs"])?.lines().count()), |now| *now > lines)?;
    ensure!(counting.script("echo beside")? == "beside\n");
    paused.done(&["unpause"])?;
    ensure!(paused.script("echo beside")? == "beside\n");
    Ok(())
}

fn comes_back(docker: &Docker) -> Result<()> {
    let kept = |policy: &str| Kept::idle(docker, &["--stop-timeout", "1", "--restart", policy]);
    let (no, always, unless, failure) =
        (kept("no")?, kept("always")?, kept("unless-stopped")?, kept("on-failure")?);
    let (stopped_always, stopped_unless) = (kept("always")?, kept("unless-stopped")?);
    stopped_always.done(&["stop"])?;
    stopped_unless.done(&["stop"])?;
    let before = always.pid()?;
    docker.end(Signal::TERM)?;
    docker.start()?;
    for container in [&always, &unless, &failure, &stopped_always] {
        soon(|| container.status(), |status| status == "running")?;
    }
    ensure!(always.pid()? != before);
    for container in [&no, &stopped_unless] {
        ensure!(container.status()? == "exited", "{}", container.state()?);
    }
    ensure!(always.script("echo beside")? == "beside\n");
    // A daemon that is killed takes its containers along when it begins again, unless they may live on.
    docker.end(Signal::KILL)?;
    docker.start()?;
    soon(|| always.status(), |status| status == "running")?;
    always.script("true")?;
    Ok(())
}

fn on_failure(docker: &Docker) -> Result<()> {
    let fails = Kept::guest(docker, "exit", &["--restart", "on-failure:2"], &["7"])?;
    let told = || fails.told("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}");
    soon(told, |told| told == "2 exited 7")?;
    Ok(())
}

fn always(docker: &Docker) -> Result<()> {
    let fails = Kept::guest(docker, "exit", &["--restart", "always"], &["7"])?;
    let count = || Ok(fails.told("{{.RestartCount}}")?.parse::<u32>()?);
    soon(count, |count| *count >= 2)?;
    fails.done(&["stop"])?;
    let count = count()?;
    ensure!(fails.status()? == "exited", "{}", fails.state()?);
    ensure!(fails.told("{{.RestartCount}}")? == count.to_string());
    Ok(())
}

fn did_well(docker: &Docker) -> Result<()> {
    let well = Kept::guest(docker, "exit", &["--restart", "on-failure:5"], &["0"])?;
    soon(|| well.status(), |status| status == "exited")?;
    ensure!(well.told("{{.RestartCount}} {{.State.ExitCode}}")? == "0 0", "{}", well.state()?);
    Ok(())
}
