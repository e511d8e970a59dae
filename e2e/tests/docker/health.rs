//! Healthchecks: a program that Docker runs in the container again and again.

use anyhow::{Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, soon};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("healthcheck_of_a_container_without_tools", For::Wherry, |d| {
        let check = ["--health-cmd", "test -f /sleep.wasm || exit 1", "--health-interval", "200ms"];
        becomes(&Kept::guest(d, "sleep", &check, &[])?, "healthy")
    }),
    ("healthcheck_turns_with_what_it_finds", For::Any, turns),
    ("healthcheck_that_takes_too_long_is_ended", For::Any, slow),
    ("healthcheck_of_a_service_over_http", For::Wherry, service),
];

fn becomes(container: &Kept, wanted: &str) -> Result<()> {
    soon(|| container.told("{{.State.Health.Status}}"), |health| health == wanted)?;
    Ok(())
}

fn turns(docker: &Docker) -> Result<()> {
    let check = "cat /tmp/well || { echo nothing there; exit 1; }";
    let often = ["--health-interval", "200ms", "--health-retries", "1"];
    let idle = Kept::idle(docker, &[&["--health-cmd", check][..], &often].concat())?;
    becomes(&idle, "unhealthy")?;
    let log = idle.told("{{(index .State.Health.Log 0).Output}}")?;
    ensure!(log.contains("nothing there"), "{log}");
    idle.script("echo well > /tmp/well")?;
    becomes(&idle, "healthy")?;
    idle.script("rm /tmp/well")?;
    becomes(&idle, "unhealthy")
}

fn slow(docker: &Docker) -> Result<()> {
    let often =
        ["--health-interval", "100ms", "--health-timeout", "300ms", "--health-retries", "2"];
    let idle = Kept::idle(docker, &[&["--health-cmd", "sleep 1000"][..], &often].concat())?;
    becomes(&idle, "unhealthy")?;
    let log = idle.told("{{(index .State.Health.Log 0).Output}}")?;
    ensure!(log.contains("timeout"), "{log}");
    // Those that took too long are gone: there is the program, and at most one that is asked now.
    soon(|| idle.done(&["top"]), |top| top.lines().count() <= 3)?;
    Ok(())
}

fn service(docker: &Docker) -> Result<()> {
    let check = "wget -q -O /dev/null http://127.0.0.1:8080/";
    let options = ["--health-cmd", check, "--health-interval", "200ms"];
    becomes(&Kept::guest(docker, "http-p2", &options, &[])?, "healthy")
}
