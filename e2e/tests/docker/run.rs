//! What `docker run` sets of a process and of its surroundings, seen from inside and from the machine.

use std::fs;

use anyhow::{Context, Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, run, script, tool};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("run_sets_names_and_where_names_are_looked_up", For::Any, names),
    ("run_sets_user_capabilities_privileges_and_limits_of_the_process", For::Any, process),
    ("run_privileged_runs", For::Any, privileged),
    ("run_device_puts_a_device_in_its_place", For::Any, device),
    ("run_sysctl_sets_what_is_the_containers_own", For::Any, sysctl),
    ("run_read_only_leaves_volumes_and_tmpfs_to_be_written", For::Any, read_only),
    ("run_gpus_is_refused_by_name", For::Any, gpus),
    ("run_of_nothing_that_runs_is_told_as_docker_tells_it", For::Any, refused),
    ("run_refuses_an_annotation_that_nobody_knows", For::Wherry, annotation),
    ("run_shows_every_line_of_a_hundred_thousand", For::Any, long),
    ("run_of_a_name_out_of_the_configuration", For::Any, configured),
];

fn names(docker: &Docker) -> Result<()> {
    let options = [
        "--hostname",
        "ferry",
        "--add-host",
        "pier.test:10.1.2.3",
        "--dns",
        "10.9.8.7",
        "--dns-search",
        "harbour.test",
        "--dns-option",
        "ndots:3",
    ];
    let text = "hostname; cat /etc/hostname; grep -c pier.test /etc/hosts; \
        grep -v '^#' /etc/resolv.conf | grep .";
    let told = script(docker, &options, text)?;
    let expected = "ferry\nferry\n1\nnameserver 10.9.8.7\nsearch harbour.test\noptions ndots:3\n";
    ensure!(told == expected, "{told}");
    let done = run(docker, "lookup", &[&["--rm"][..], &options].concat(), &["pier.test"], "")?;
    is(done, 0, "pier.test: 10.1.2.3\n", "")
}

/// Lines of `/proc/<pid>/<file>` that begin with these words, their spaces made one.
fn facts(pid: u32, file: &str, beginnings: &[&str]) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).context(path)?;
    let lines = text.lines().filter(|line| beginnings.iter().any(|words| line.starts_with(words)));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

fn process(docker: &Docker) -> Result<()> {
    let options = [
        "--user",
        "1234:2345",
        "--group-add",
        "77",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=1024:2048",
        "--ulimit",
        "core=0",
        "--oom-score-adj",
        "400",
    ];
    let idle = Kept::idle(docker, &options)?;
    let pid = idle.pid()?;
    let status = facts(pid, "status", &["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:"])?;
    let none = "0000000000000000";
    let mut expected =
        vec!["Uid: 1234 1234 1234 1234".to_string(), "Gid: 2345 2345 2345 2345".to_string()];
    expected.push("Groups: 77 2345".to_string());
    expected.extend(["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}: {none}")));
    expected.extend(["NoNewPrivs: 1".to_string(), "Seccomp: 2".to_string()]);
    ensure!(status == expected, "{status:?}");
    let limits = facts(pid, "limits", &["Max open files", "Max core file size"])?;
    ensure!(
        limits == ["Max core file size 0 0 bytes", "Max open files 1024 2048 files"],
        "{limits:?}"
    );
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    ensure!(score == "400\n", "{score}");
    Ok(())
}

/// Docker's words for "as if there were no container" ask for more than a guest has a use for.
fn privileged(docker: &Docker) -> Result<()> {
    let options = ["--privileged", "--security-opt", "seccomp=unconfined"];
    let options = [&options[..], &["--security-opt", "apparmor=unconfined"]].concat();
    ensure!(script(docker, &options, "id -u; test -c /dev/null && echo there")? == "0\nthere\n");
    Ok(())
}

fn device(docker: &Docker) -> Result<()> {
    let told = script(
        docker,
        &["--device", "/dev/zero:/dev/nix:r"],
        "test -c /dev/nix && dd if=/dev/nix bs=7 count=1 2>/dev/null | od -An -c",
    )?;
    ensure!(told.split_whitespace().eq(["\\0"; 7]), "{told}");
    Ok(())
}

fn sysctl(docker: &Docker) -> Result<()> {
    let text = "cat /proc/sys/net/ipv4/ip_default_ttl";
    let told = script(docker, &["--sysctl", "net.ipv4.ip_default_ttl=99"], text)?;
    ensure!(told == "99\n", "{told}");
    let done = tool(docker, &["--sysctl", "vm.overcommit_memory=1"], &["true"])?;
    ensure!(done.code != 0 && done.stderr.contains("vm.overcommit_memory"), "{done}");
    Ok(())
}

fn read_only(docker: &Docker) -> Result<()> {
    let options = ["--read-only", "--tmpfs", "/scratch:size=1m", "-v", "/kept"];
    let text = "echo a > /scratch/a && echo b > /kept/b && cat /scratch/a /kept/b; \
        echo c 2>/dev/null > /c || echo refused";
    let done = tool(docker, &options, &["sh", "-c", text])?;
    ensure!(done.code == 0 && done.stdout == "a\nb\nrefused\n", "{done}");
    Ok(())
}

fn gpus(docker: &Docker) -> Result<()> {
    let done = tool(docker, &["--gpus", "all"], &["true"])?;
    ensure!(done.code == 125 && done.stderr.to_lowercase().contains("gpu"), "{done}");
    Ok(())
}

fn refused(docker: &Docker) -> Result<()> {
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&[], "/nowhere/program", 127, "no such file or directory"),
        (&[], "no-such-program", 127, "executable file not found in $PATH"),
        (&[], "/etc", 126, "is a directory: permission denied"),
        (&["-u", "nobody-of-that-name"], "true", 125, "nobody-of-that-name"),
        (&["--entrypoint", "/nowhere.wasm"], "true", 127, "/nowhere.wasm"),
    ];
    for (options, program, code, words) in cases {
        let done = tool(docker, options, &[program])?;
        ensure!(done.code == *code && done.stderr.contains(words), "{program}: {done}");
    }
    Ok(())
}

fn annotation(docker: &Docker) -> Result<()> {
    let done = tool(docker, &["--annotation", "wherry.dev/nonsense=1"], &["true"])?;
    ensure!(done.code == 125 && done.stderr.contains("wherry.dev/nonsense"), "{done}");
    let done = tool(docker, &["--annotation", "wherry.dev/root=none"], &["ls", "/"])?;
    ensure!(done.stdout.is_empty(), "{done}");
    Ok(())
}

fn long(docker: &Docker) -> Result<()> {
    let told = script(docker, &[], "yes 0123456789 | head -n 100000")?;
    ensure!(told == "0123456789\n".repeat(100_000), "{} bytes", told.len());
    Ok(())
}

/// An administrator gives a runtime a name, and options, in `daemon.json`.
fn configured(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().toolbox()?)?;
    let named = match docker.world().runtime() {
        Runtime::Wherry => "wasm",
        Runtime::Runc => "native",
    };
    let done = docker.docker(&["run", "--rm", "--runtime", named, &image, "echo", "named"], "")?;
    is(done, 0, "named\n", "")
}
