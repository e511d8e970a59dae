//! `docker exec`: a second program in a container that runs.

use anyhow::{Result, ensure};
use wherry_e2e::docker::{Docker, Engine};
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, soon};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("exec_runs_tools_in_a_container_that_has_none", For::Wherry, tools),
    ("exec_ends_with_the_code_of_its_program", For::Any, codes),
    ("exec_of_nothing_that_runs_is_told_as_docker_tells_it", For::Any, refused),
    ("exec_has_streams_user_folder_and_environment_of_its_own", For::Any, own),
    ("exec_d_goes_on_without_a_client", For::Any, detached),
    ("exec_waits_for_no_container_that_is_paused_or_over", For::Any, late),
    ("cp_and_exec_see_the_same_files", For::Any, same_files),
];

fn tools(docker: &Docker) -> Result<()> {
    let sleeps = Kept::guest(docker, "sleep", &[], &[])?;
    let done = sleeps.exec(&[], &["ls", "/"], "")?.ok()?;
    ensure!(done.stdout.lines().any(|line| line == "sleep.wasm"), "{done}");
    let done = sleeps.exec(&[], &["/bin/sh", "-c", "cd /etc && pwd; echo $((6*7))"], "")?;
    is(done, 0, "/etc\n42\n", "")?;
    is(sleeps.exec(&["-i"], &["cat"], "through")?, 0, "through", "")?;
    ensure!(sleeps.script("echo kept > /note && test -s /note && cat /note")? == "kept\n");
    is(sleeps.exec(&["-t"], &["echo", "a"], "")?, 0, "a\r\n", "")
}

fn codes(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &[])?;
    for code in [0, 3, 255] {
        let done = idle.exec(&[], &["sh", "-c", &format!("exit {code}")], "")?;
        is(done, code, "", "")?;
    }
    Ok(())
}

fn refused(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &[])?;
    let cases: &[(&[&str], &[&str], i32, &str)] = &[
        (&[], &["no-such-program"], 127, "executable file not found in $PATH"),
        (&[], &["/nowhere/program"], 127, "no such file or directory"),
        (&[], &["/etc"], 126, "is a directory: permission denied"),
        (&["-w", "/nowhere"], &["pwd"], 127, "/nowhere"),
    ];
    for (options, args, code, words) in cases {
        let done = idle.exec(options, args, "")?;
        // An exec that is refused is told on stdout up to Docker 28, where the program's output goes.
        let told = format!("{}{}", done.stdout, done.stderr).to_lowercase();
        // Docker 26 knows one code for all of them, of runc's containers too.
        let code = if docker.engine == Engine::V26 { 126 } else { *code };
        ensure!(done.code == code && told.contains(&words.to_lowercase()), "{args:?}: {done}");
    }
    Ok(())
}

fn own(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["-e", "OWN=container"])?;
    let options = ["-u", "1234:2345", "-w", "/etc", "-e", "OWN=exec"];
    let script = "id -u; id -g; pwd; echo $OWN; echo aside >&2";
    let done = idle.exec(&options, &["sh", "-c", script], "")?;
    is(done, 0, "1234\n2345\n/etc\nexec\n", "aside\n")
}

fn detached(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &[])?;
    let script = "until test -f /go; do sleep 0.05; done; echo gone > /went";
    is(idle.exec(&["-d"], &["sh", "-c", script], "")?, 0, "", "")?;
    idle.script("touch /go")?;
    soon(|| Ok(idle.exec(&[], &["cat", "/went"], "")?.stdout), |went| went == "gone\n")?;
    Ok(())
}

fn late(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--stop-timeout", "1"])?;
    idle.done(&["pause"])?;
    let done = idle.exec(&[], &["true"], "")?;
    ensure!(done.code == 1 && done.stderr.contains("is paused"), "{done}");
    idle.done(&["unpause"])?;
    is(idle.exec(&[], &["true"], "")?, 0, "", "")?;
    idle.done(&["stop"])?;
    let done = idle.exec(&[], &["true"], "")?;
    ensure!(done.code == 1 && done.stderr.contains("is not running"), "{done}");
    Ok(())
}

fn same_files(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--tmpfs", "/scratch"])?;
    idle.script(
        "mkdir -p /made/here && echo inside > /made/here/file && echo hidden > /scratch/file",
    )?;
    let out = docker.docker(&["cp", &format!("{}:/made/here/file", idle.id), "-"], "")?.ok()?;
    // A tar, whose one file is what was written.
    ensure!(out.stdout.starts_with("file\0") && out.stdout.contains("inside\n"), "{out}");
    is(idle.exec(&[], &["cat", "/scratch/file"], "")?, 0, "hidden\n", "")
}
