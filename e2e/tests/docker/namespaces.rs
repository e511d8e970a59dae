//! Namespaces that containers share with each other and with the machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, soon, tool};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("namespaces_are_the_containers_own_or_whose_it_says", For::Any, whose),
    ("pid_container_shows_its_processes_and_ends_with_it", For::Any, pid_container),
    ("ipc_container_shares_memory_files", For::Any, ipc_container),
    ("ipc_of_a_container_that_does_not_share_is_refused", For::Any, ipc_private),
    ("network_container_shares_the_addresses_of_another", For::Wherry, shared_network),
];

fn namespace(pid: u32, kind: &str) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/ns/{kind}");
    fs::read_link(&path).context(path)
}

fn whose(docker: &Docker) -> Result<()> {
    let first = Kept::idle(docker, &["--ipc", "shareable"])?;
    let theirs = first.pid()?;
    // The machine, but for the network: the daemon has one of its own here.
    let (machine, daemon) = (std::process::id(), docker.world().containerd.place.pid());
    for kind in ["pid", "ipc", "net", "uts", "mnt"] {
        ensure!(namespace(theirs, kind)? != namespace(machine, kind)?, "{kind}");
    }
    let of_first = |kind: &str| format!("--{kind}=container:{}", first.id);
    let cases = [
        (of_first("pid"), "pid", theirs),
        (of_first("ipc"), "ipc", theirs),
        (of_first("network"), "net", theirs),
        ("--pid=host".to_string(), "pid", machine),
        ("--ipc=host".to_string(), "ipc", machine),
        ("--uts=host".to_string(), "uts", machine),
        ("--network=host".to_string(), "net", daemon),
    ];
    for (option, kind, whose) in cases {
        let second = Kept::idle(docker, &[&option])?;
        let (seen, expected) = (namespace(second.pid()?, kind)?, namespace(whose, kind)?);
        ensure!(seen == expected, "{option}: {} instead of {}", seen.display(), expected.display());
        is(second.exec(&[], &["echo", "beside"], "")?, 0, "beside\n", "")?;
    }
    Ok(())
}

fn pid_container(docker: &Docker) -> Result<()> {
    let first = Kept::idle(docker, &[])?;
    let second = Kept::idle(docker, &["--pid", &format!("container:{}", first.id)])?;
    // From the outside each has its own process, from the inside both are seen.
    ensure!(second.done(&["top"])?.lines().count() == 2);
    let seen = second.script("ls /proc | grep -c '^[0-9][0-9]*$'")?;
    ensure!(seen.trim().parse::<u32>()? >= 3, "{seen}");
    // Who is pid 1 of a namespace takes everybody in it along.
    first.done(&["kill"])?;
    ensure!(second.ended()? == 137, "{}", second.state()?);
    Ok(())
}

fn ipc_container(docker: &Docker) -> Result<()> {
    let first = Kept::idle(docker, &["--ipc", "shareable", "--shm-size", "1m"])?;
    let joins = format!("container:{}", first.id);
    tool(docker, &["--ipc", &joins], &["sh", "-c", "echo shared > /dev/shm/note"])?.ok()?;
    ensure!(first.script("cat /dev/shm/note")? == "shared\n");
    let full = "dd if=/dev/zero of=/dev/shm/much bs=1024 count=2000 2>/dev/null || echo full";
    ensure!(first.script(full)? == "full\n");
    is(tool(docker, &["--ipc", "none"], &["test", "-e", "/dev/shm/note"])?, 1, "", "")
}

fn ipc_private(docker: &Docker) -> Result<()> {
    let first = Kept::idle(docker, &["--ipc", "private"])?;
    let done = tool(docker, &["--ipc", &format!("container:{}", first.id)], &["true"])?;
    ensure!(done.code == 125 && done.stderr.contains("non-shareable IPC"), "{done}");
    Ok(())
}

fn shared_network(docker: &Docker) -> Result<()> {
    let serves = Kept::guest(docker, "http-p2", &[], &[])?;
    let network = format!("container:{}", serves.id);
    let sleeps = Kept::guest(docker, "sleep", &["--network", &network], &[])?;
    let words = ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"];
    let fetch = || sleeps.exec(&[], &words, "");
    let answered = soon(fetch, |done| done.code == 0)?;
    is(answered, 0, "Hello, WASI!\n", "")
}
