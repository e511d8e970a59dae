//! The programs under Docker Engine, through Docker's own client, as people run containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wherry_e2e::command::{Output, until};
use wherry_e2e::docker::Docker;
use wherry_e2e::image::Form;
use wherry_e2e::suite::{self, Case, For, Ground};

const CASES: &[Case<Docker>] = &[
    ("run_rm_prints_and_leaves_no_container", For::Any, |d| {
        is(run(d, "hello", &["--rm"], &["Docker"], "")?, 0, "Hello, Docker!\n", "")?;
        let listed = d.docker(
            &["ps", "--all", "--quiet", "--filter", "ancestor=wherry.test/hello:linux"],
            "",
        )?;
        is(listed, 0, "", "")
    }),
    ("run_ends_with_the_code_of_the_program", For::Any, |d| {
        for code in [0, 1, 42, 255] {
            is(run(d, "exit", &["--rm"], &[&code.to_string()], "")?, code, "", "")?;
        }
        Ok(())
    }),
    ("run_i_pipes_stdin_to_its_end", For::Any, |d| {
        is(run(d, "cat", &["--rm", "-i"], &[], "one\ntwo")?, 0, "one\ntwo", "")
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
        is(
            run(d, "oom", &["--rm", "--memory", "64m"], &["gently"], "")?,
            3,
            "taking\nrefused\n",
            "",
        )
    }),
    ("run_platform_wasi_wasm", For::Wherry, |d| {
        let image = d.load(&d.world().image_as("hello", Form::Wasi)?)?;
        let words =
            ["run", "--rm", "--runtime", d.runtime(), "--platform", "wasi/wasm", &image, "Docker"];
        is(d.docker(&words, "")?, 0, "Hello, Docker!\n", "")
    }),
    ("detached_is_watched_stopped_and_removed", For::Any, detached),
    ("kill_ends_with_137", For::Any, |d| {
        let id = detach(d, "spin", &[])?;
        d.docker(&["kill", &id], "")?.ok()?;
        is(d.docker(&["wait", &id], "")?, 0, "137\n", "")?;
        d.docker(&["rm", &id], "")?.ok()?;
        Ok(())
    }),
    ("rm_f_ends_a_program_that_spins", For::Any, |d| {
        let id = detach(d, "spin", &[])?;
        d.docker(&["rm", "--force", &id], "")?.ok()?;
        Ok(())
    }),
    ("a_missing_program_is_an_error_that_names_it", For::Any, |d| {
        let image = d.load(&d.world().image("hello")?)?;
        let words =
            ["run", "--rm", "--runtime", d.runtime(), "--entrypoint", "/nowhere.wasm", &image];
        let done = d.docker(&words, "")?;
        ensure!(
            [125, 126, 127].contains(&done.code) && done.stderr.contains("nowhere.wasm"),
            "{done}"
        );
        Ok(())
    }),
];

fn main() -> ExitCode {
    suite::main_on("docker", Docker::chosen, CASES)
}

fn is(output: Output, code: i32, stdout: &str, stderr: &str) -> Result<()> {
    let expected = Output { code, stdout: stdout.to_string(), stderr: stderr.to_string() };
    ensure!(output == expected, "got {output}\nexpected {expected}");
    Ok(())
}

/// `docker run OPTIONS IMAGE ARGS`.
fn run(
    docker: &Docker,
    guest: &str,
    options: &[&str],
    args: &[&str],
    input: &str,
) -> Result<Output> {
    let image = docker.load(&docker.world().image(guest)?)?;
    let mut words = vec!["run", "--runtime", docker.runtime()];
    words.extend(options);
    words.push(&image);
    words.extend(args);
    docker.docker(&words, input)
}

fn detach(docker: &Docker, guest: &str, options: &[&str]) -> Result<String> {
    let mut all = vec!["--detach"];
    all.extend(options);
    Ok(run(docker, guest, &all, &[], "")?.ok()?.stdout.trim().to_string())
}

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

fn inspect(docker: &Docker, id: &str) -> Result<Value> {
    let told = docker.docker(&["inspect", id], "")?.ok()?;
    let all: Value = serde_json::from_str(&told.stdout)?;
    all.get(0).cloned().context("inspect told nothing")
}

fn detached(docker: &Docker) -> Result<()> {
    let id = detach(docker, "sleep", &[])?;
    let logs = || docker.docker(&["logs", &id], "").is_ok_and(|logs| logs.stdout == "sleeping\n");
    ensure!(until(Duration::from_secs(30), logs), "{:?}", docker.docker(&["logs", &id], ""));
    let state = inspect(docker, &id)?["State"].clone();
    ensure!(state["Status"] == "running" && state["Pid"].as_u64() > Some(0), "{state}");
    let top = docker.docker(&["top", &id], "")?.ok()?;
    ensure!(top.stdout.lines().count() == 2, "{top}");
    ensure!(top.stdout.contains(&state["Pid"].to_string()), "{top}");
    let format = "{{.PIDs}} {{.MemUsage}}";
    let stats = docker.docker(&["stats", "--no-stream", "--format", format, &id], "")?.ok()?;
    ensure!(!stats.stdout.starts_with("0 ") && !stats.stdout.contains(" 0B /"), "{stats}");
    let stopping = Instant::now();
    // What `sleep` does with SIGTERM differs: Wasm ends at once, a native init process ignores it.
    docker.docker(&["stop", "--time", "5", &id], "")?.ok()?;
    if docker.world().runtime() == wherry_e2e::rig::Runtime::Wherry {
        ensure!(stopping.elapsed() < Duration::from_secs(5), "stop took {:?}", stopping.elapsed());
        let state = inspect(docker, &id)?["State"].clone();
        ensure!(state["Status"] == "exited" && state["ExitCode"] == 143, "{state}");
    }
    docker.docker(&["rm", &id], "")?.ok()?;
    Ok(())
}
