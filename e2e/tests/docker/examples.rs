//! The examples that everybody tries first.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::{Result, ensure};
use wherry_e2e::command::Output;
use wherry_e2e::docker::Docker;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, run};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("run_rm_prints_and_leaves_no_container", For::Any, |d| {
        is(run(d, "hello", &["--rm"], &["Docker"], "")?, 0, "Hello, Docker!\n", "")?;
        let ours = "ancestor=wherry.test/hello:linux";
        is(d.docker(&["ps", "--all", "--quiet", "--filter", ours], "")?, 0, "", "")
    }),
    ("run_ends_with_the_code_of_the_program", For::Any, |d| {
        for code in [0, 1, 42, 255] {
            is(run(d, "exit", &["--rm"], &[&code.to_string()], "")?, code, "", "")?;
        }
        Ok(())
    }),
    ("run_i_with_nothing_on_stdin_ends", For::Any, |d| {
        is(run(d, "cat", &["--rm", "-i"], &[], "")?, 0, "", "")
    }),
    ("run_i_pipes_stdin_to_its_end", For::Any, |d| {
        is(run(d, "cat", &["--rm", "-i"], &[], "one\ntwo")?, 0, "one\ntwo", "")
    }),
    ("run_i_loses_nothing_of_megabytes", For::Any, |d| {
        let long = "0123456789abcde\n".repeat(200_000);
        let done = run(d, "cat", &["--rm", "-i"], &[], &long)?.ok()?;
        ensure!(done.stdout == long, "{} of {} bytes", done.stdout.len(), long.len());
        Ok(())
    }),
    ("run_e_sets_the_environment", For::Any, |d| {
        let done = run(d, "env", &["--rm", "-e", "LOG_LEVEL=debug"], &[], "")?;
        ensure!(
            done.code == 0 && done.stdout.starts_with("DB: not set\nLog Level: debug\n"),
            "{done}"
        );
        Ok(())
    }),
    ("run_v_mounts_a_folder", For::Any, volume),
    ("run_v_ro_mounts_it_read_only", For::Any, |d| {
        let folder = d.world().folder("docker-ro")?;
        let volume = format!("{}:/data:ro", folder.display());
        refuses_to_write(run(d, "files", &["--rm", "-v", &volume], &["write", "/data/a", "b"], "")?)
    }),
    ("run_read_only_refuses_to_write", For::Any, |d| {
        refuses_to_write(run(d, "files", &["--rm", "--read-only"], &["write", "/a", "b"], "")?)
    }),
    ("run_user_is_the_user_of_the_program", For::Any, user),
    ("run_w_sets_the_folder", For::Wherry, |d| {
        is(run(d, "cwd", &["--rm", "-w", "/work"], &[], "")?, 0, "Some(\"/work\")\n", "")
    }),
    ("run_memory_is_a_limit_that_a_program_can_see", For::Wherry, |d| {
        let done = run(d, "oom", &["--rm", "--memory", "64m"], &["gently"], "")?;
        is(done, 3, "taking\nrefused\n", "")
    }),
    ("run_t_has_a_terminal", For::Any, |d| {
        is(run(d, "isatty", &["--rm", "-t"], &[], "")?, 0, "[true, true, true]\r\n", "")
    }),
    ("run_init_is_what_a_program_without_children_has_anyway", For::Wherry, init),
];

fn refuses_to_write(done: Output) -> Result<()> {
    ensure!(done.code == 1 && done.stdout.contains(": refused ("), "{done}");
    Ok(())
}

fn volume(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-volume")?;
    fs::write(folder.join("input.txt"), "Hello from host\n")?;
    let volume = format!("{}:/data", folder.display());
    let args = [
        "write",
        "/data/output.txt",
        "Written from WASI!",
        "list",
        "/data",
        "read",
        "/data/input.txt",
    ];
    let done = run(docker, "files", &["--rm", "-v", &volume], &args, "")?;
    is(done, 0, "input.txt output.txt\nHello from host\n", "")?;
    ensure!(fs::read_to_string(folder.join("output.txt"))? == "Written from WASI!\n");
    Ok(())
}

fn user(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-user")?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let volume = format!("{}:/data", folder.display());
    let options = ["--rm", "--user", "1234:2345", "-v", &volume];
    is(run(docker, "files", &options, &["write", "/data/mine", "x"], "")?, 0, "", "")?;
    let about = fs::metadata(folder.join("mine"))?;
    ensure!((about.uid(), about.gid()) == (1234, 2345), "{}:{}", about.uid(), about.gid());
    Ok(())
}

/// Docker's init would be a native program: a guest has no children that it could look after.
fn init(docker: &Docker) -> Result<()> {
    is(run(docker, "hello", &["--rm", "--init"], &["Docker"], "")?, 0, "Hello, Docker!\n", "")?;
    let idle = Kept::idle(docker, &["--init"])?;
    is(idle.exec(&[], &["echo", "beside"], "")?, 0, "beside\n", "")?;
    idle.done(&["stop"])?;
    ensure!(idle.ended()? == 143, "{}", idle.state()?);
    Ok(())
}
