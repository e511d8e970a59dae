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
    ("run_t_has_a_terminal", For::Any, |d| {
        is(run(d, "isatty", &["--rm", "-t"], &[], "")?, 0, "[true, true, true]\r\n", "")
    }),
    ("run_init_is_what_a_program_without_children_has_anyway", For::Wherry, |d| {
        is(run(d, "hello", &["--rm", "--init"], &["Docker"], "")?, 0, "Hello, Docker!\n", "")
    }),
    ("exec_runs_tools_in_a_container_that_has_none", For::Wherry, exec_tools),
    ("exec_ends_with_the_code_of_its_program_or_127", For::Wherry, exec_codes),
    ("exec_has_streams_user_folder_and_environment_of_its_own", For::Wherry, exec_own),
    ("healthcheck_runs_a_shell_command", For::Wherry, healthy),
    ("restart_policy_starts_a_program_that_fails_again", For::Any, restarted),
    ("pause_stops_and_unpause_goes_on", For::Any, paused),
    ("update_changes_the_limits_of_a_program_that_runs", For::Any, updated),
    ("cp_copies_in_and_out", For::Any, copied),
    ("events_tell_the_life_of_a_container", For::Any, events),
    ("network_container_shares_the_addresses_of_another", For::Wherry, shared_network),
    ("oom_is_told_as_the_reason", For::Wherry, oom_told),
    ("attach_shows_what_comes_and_ends_with_the_code", For::Any, attached),
    ("start_again_after_stop", For::Any, again),
    ("a_missing_program_is_an_error_that_names_it", For::Any, |d| {
        let image = d.load(&d.world().image("hello")?)?;
        let words =
            ["run", "--rm", "--runtime", d.runtime(), "--entrypoint", "/nowhere.wasm", &image];
        let done = d.docker(&words, "")?;
        ensure!(done.code == 127 && done.stderr.contains("nowhere.wasm"), "{done}");
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

fn exec(docker: &Docker, id: &str, options: &[&str], args: &[&str], input: &str) -> Result<Output> {
    let mut words = vec!["exec"];
    words.extend(options);
    words.push(id);
    words.extend(args);
    docker.docker(&words, input)
}

/// Runs `what` beside a container that sleeps, and removes it.
fn beside(docker: &Docker, options: &[&str], what: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let id = detach(docker, "sleep", options)?;
    let done = what(&id);
    docker.docker(&["rm", "--force", &id], "")?.ok()?;
    done
}

fn exec_tools(docker: &Docker) -> Result<()> {
    beside(docker, &[], |id| {
        let done = exec(docker, id, &[], &["ls", "/"], "")?.ok()?;
        ensure!(done.stdout.lines().any(|line| line == "sleep.wasm"), "{done}");
        is(
            exec(docker, id, &[], &["/bin/sh", "-c", "cd /etc && pwd; echo $((6*7))"], "")?,
            0,
            "/etc\n42\n",
            "",
        )?;
        is(exec(docker, id, &["-i"], &["cat"], "through")?, 0, "through", "")?;
        let script = "echo kept > /note && test -s /note && cat /note";
        is(exec(docker, id, &[], &["sh", "-c", script], "")?, 0, "kept\n", "")?;
        is(exec(docker, id, &["-t"], &["echo", "a"], "")?, 0, "a\r\n", "")
    })
}

fn exec_codes(docker: &Docker) -> Result<()> {
    beside(docker, &[], |id| {
        for code in [0, 3, 255] {
            let script = format!("exit {code}");
            ensure!(exec(docker, id, &[], &["sh", "-c", &script], "")?.code == code);
        }
        let done = exec(docker, id, &[], &["no-such-program"], "")?;
        let told = format!("{}{}", done.stdout, done.stderr);
        ensure!(done.code == 127 && told.contains("executable file not found in $PATH"), "{done}");
        Ok(())
    })
}

fn exec_own(docker: &Docker) -> Result<()> {
    beside(docker, &["-e", "OWN=container"], |id| {
        let options = ["-u", "1234:2345", "-w", "/etc", "-e", "OWN=exec"];
        let done = exec(docker, id, &options, &["sh", "-c", "id -u; id -g; pwd; echo $OWN"], "")?;
        is(done, 0, "1234\n2345\n/etc\nexec\n", "")
    })
}

fn healthy(docker: &Docker) -> Result<()> {
    let options = ["--health-cmd", "test -f /sleep.wasm || exit 1", "--health-interval", "200ms"];
    beside(docker, &options, |id| {
        let health = || inspect(docker, id).map(|told| told["State"]["Health"]["Status"].clone());
        let healthy = || health().is_ok_and(|status| status == "healthy");
        ensure!(until(Duration::from_secs(30), healthy), "{:?}", inspect(docker, id)?["State"]);
        Ok(())
    })
}

fn restarted(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().image("exit")?)?;
    let words =
        ["run", "-d", "--restart", "on-failure:2", "--runtime", docker.runtime(), &image, "7"];
    let id = docker.docker(&words, "")?.ok()?.stdout.trim().to_string();
    let state = || inspect(docker, &id);
    let over = || state().is_ok_and(|s| s["RestartCount"] == 2 && s["State"]["Status"] == "exited");
    let ended = until(Duration::from_secs(60), over);
    let told = state()?;
    docker.docker(&["rm", "--force", &id], "")?.ok()?;
    ensure!(ended && told["State"]["ExitCode"] == 7, "{}", told["State"]);
    Ok(())
}

fn paused(docker: &Docker) -> Result<()> {
    beside(docker, &[], |id| {
        docker.docker(&["pause", id], "")?.ok()?;
        ensure!(inspect(docker, id)?["State"]["Status"] == "paused");
        docker.docker(&["unpause", id], "")?.ok()?;
        ensure!(inspect(docker, id)?["State"]["Status"] == "running");
        Ok(())
    })
}

fn updated(docker: &Docker) -> Result<()> {
    beside(docker, &["--memory", "64m", "--cpus", "0.5"], |id| {
        let limits = ["--memory", "128m", "--memory-swap", "128m", "--cpus", "1"];
        let mut words = vec!["update"];
        words.extend(limits);
        words.push(id);
        docker.docker(&words, "")?.ok()?;
        let format = "{{.MemUsage}}";
        let stats = docker.docker(&["stats", "--no-stream", "--format", format, id], "")?.ok()?;
        ensure!(stats.stdout.contains("/ 128MiB"), "{stats}");
        Ok(())
    })
}

fn copied(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-cp")?;
    fs::write(folder.join("in"), "copied\n")?;
    let (from, to) = (folder.join("in"), folder.join("out"));
    beside(docker, &[], |id| {
        let inside = format!("{id}:/copied");
        docker.docker(&["cp", &from.display().to_string(), &inside], "")?.ok()?;
        docker.docker(&["cp", &inside, &to.display().to_string()], "")?.ok()?;
        ensure!(fs::read_to_string(&to)? == "copied\n");
        Ok(())
    })
}

fn events(docker: &Docker) -> Result<()> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let id = detach(docker, "exit", &[])?;
    docker.docker(&["wait", &id], "")?.ok()?;
    docker.docker(&["rm", &id], "")?.ok()?;
    let (since, filter) = (since.to_string(), format!("container={id}"));
    let until = (since.parse::<u64>()? + 3600).min(u64::from(u32::MAX)).to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 1;
    let words = [
        "events",
        "--since",
        &since,
        "--until",
        &now.to_string().min(until),
        "--filter",
        &filter,
        "--format",
        "{{.Action}}",
    ];
    let told = docker.docker(&words, "")?.ok()?;
    let actions: Vec<_> = told.stdout.lines().collect();
    let wanted = ["create", "start", "die", "destroy"];
    let mut found = actions.iter();
    ensure!(wanted.iter().all(|what| found.any(|action| action == what)), "{actions:?}");
    Ok(())
}

fn shared_network(docker: &Docker) -> Result<()> {
    let id = detach(docker, "http-p2", &[])?;
    let network = format!("container:{id}");
    let image = docker.load(&docker.world().image("sleep")?)?;
    let words = ["run", "-d", "--network", &network, "--runtime", docker.runtime(), &image];
    let other = docker.docker(&words, "")?.ok()?.stdout.trim().to_string();
    let fetch =
        || exec(docker, &other, &[], &["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"], "");
    let answered = until(Duration::from_secs(30), || fetch().is_ok_and(|done| done.code == 0));
    let last = fetch()?;
    docker.docker(&["rm", "--force", &other, &id], "")?.ok()?;
    ensure!(answered, "{last}");
    Ok(())
}

fn oom_told(docker: &Docker) -> Result<()> {
    let options = ["--detach", "--memory", "64m", "--memory-swap", "64m", "--tmpfs", "/t"];
    let id = run(docker, "oom", &options, &["files", "/t"], "")?.ok()?;
    let id = id.stdout.trim();
    docker.docker(&["wait", id], "")?.ok()?;
    let state = inspect(docker, id)?["State"].clone();
    docker.docker(&["rm", id], "")?.ok()?;
    ensure!(state["OOMKilled"] == true && state["ExitCode"] == 137, "{state}");
    Ok(())
}

fn attached(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().image("cat")?)?;
    let words = ["create", "-i", "--runtime", docker.runtime(), &image];
    let id = docker.docker(&words, "")?.ok()?.stdout.trim().to_string();
    let done = docker.docker(&["start", "--attach", "--interactive", &id], "to and fro\n")?;
    docker.docker(&["rm", "--force", &id], "")?.ok()?;
    is(done, 0, "to and fro\n", "")
}

fn again(docker: &Docker) -> Result<()> {
    beside(docker, &[], |id| {
        for _ in 0..3 {
            docker.docker(&["restart", "--time", "1", id], "")?.ok()?;
            ensure!(inspect(docker, id)?["State"]["Status"] == "running");
        }
        Ok(())
    })
}
