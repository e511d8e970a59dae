//! stdin, stdout and stderr: whole, in order, and closed when they are over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::until;
use wherry_e2e::measure;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::RUN;

use crate::examples::is;

pub(crate) const CASES: &[Case] = &[
    ("stdin_is_copied_to_its_end", For::Any, |w| copies(w, "cat", "one\ntwo\nno end of line")),
    ("stdin_is_copied_to_its_end_p2", For::Any, |w| copies(w, "cat-p2", "one\ntwo")),
    ("four_megabytes_of_stdin_come_out_again", For::Any, |w| {
        copies(w, "cat", &"0123456789abcde\n".repeat(256 * 1024))
    }),
    ("no_stdin_is_an_empty_stdin", For::Any, |w| {
        is(w.guest("cat")?.run(&w.containerd)?, 0, "", "")
    }),
    ("stdin_closed_before_start_is_read_to_its_end", For::Any, closed_early),
    ("stdin_closed_before_anybody_opened_it_has_ended", For::Any, never_opened),
    ("output_comes_before_the_end", For::Any, comes_at_once),
    ("a_log_is_complete", For::Any, |w| complete(w, "lines")),
    ("a_log_is_complete_p2", For::Any, |w| complete(w, "lines-p2")),
    ("a_log_goes_to_a_file", For::Any, file_log),
    ("a_log_goes_to_a_program", For::Any, program_log),
    ("a_terminals_log_goes_to_a_program", For::Any, terminal_log),
    // containerd's own shim opens the FIFOs in Create and waits there for a reader.
    ("output_waits_for_its_reader", For::Wherry, read_late),
    ("output_that_nobody_reads_holds_up_nobody_else", For::Wherry, never_read),
];

fn copies(world: &World, guest: &str, text: &str) -> Result<()> {
    let done = world.guest(guest)?.stdin(text).run(&world.containerd)?;
    ensure!(done.code == 0 && done.stderr.is_empty(), "code {}, {}", done.code, done.stderr);
    ensure!(done.stdout == text, "{} bytes of {}", done.stdout.len(), text.len());
    Ok(())
}

/// Docker closes stdin before it starts a container without `-i`.
fn closed_early(world: &World) -> Result<()> {
    let mut task = world.guest("cat")?.stdin("early\n").create(&world.containerd)?;
    task.end_stdin()?;
    task.start()?;
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    ensure!(task.output() == ("early\n".to_string(), String::new()));
    Ok(())
}

/// As `docker run -i` with nothing on its own stdin.
fn never_opened(world: &World) -> Result<()> {
    for guest in ["cat", "cat-p2"] {
        let mut task = world.guest(guest)?.silent().create(&world.containerd)?;
        task.end_stdin()?;
        task.start()?;
        ensure!(task.wait(RUN)? == 0);
        task.delete()?;
    }
    Ok(())
}

fn comes_at_once(world: &World) -> Result<()> {
    let mut task = world.guest("sleep")?.create(&world.containerd)?;
    task.start()?;
    task.says("sleeping\n")?;
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    task.delete()?;
    Ok(())
}

/// The last bytes are those that get lost when a program ends while its output is still on the way.
fn complete(world: &World, guest: &str) -> Result<()> {
    const COUNT: usize = 50_000;
    let done = world.guest(guest)?.args(&[&COUNT.to_string()]).run(&world.containerd)?;
    let line = |n: usize| {
        format!("line {n:08} of a log that must arrive whole, whoever reads it and however late\n")
    };
    let stdout: String = (1..=COUNT).map(line).collect();
    let stderr: String = (1..=COUNT / 10).map(|n| format!("error {:08}\n", n * 10)).collect();
    ensure!(done.code == 0, "code {}", done.code);
    ensure!(done.stdout == stdout, "{} bytes of {} on stdout", done.stdout.len(), stdout.len());
    ensure!(done.stderr == stderr, "{} bytes of {} on stderr", done.stderr.len(), stderr.len());
    Ok(())
}

/// `ctr run --log-uri file://…`
fn file_log(world: &World) -> Result<()> {
    let file = world.folder("logs")?.join("of-lines");
    let uri = format!("file://{}", file.display());
    let done = world.guest("lines")?.args(&["20"]).log(&uri).run(&world.containerd)?;
    ensure!(done.code == 0, "{done}");
    let text = fs::read_to_string(&file)?;
    ensure!(text.lines().filter(|line| line.starts_with("line ")).count() == 20, "{text}");
    ensure!(text.lines().filter(|line| line.starts_with("error ")).count() == 2, "{text}");
    Ok(())
}

/// A program that keeps what it reads in `out` and `err` of the folder and then writes `done`, and its address.
fn logger(world: &World, name: &str) -> Result<(PathBuf, String)> {
    let folder = world.folder(name)?;
    let program = folder.join("logger.sh");
    // containerd's shim for runc ends it by SIGTERM as soon as the task is deleted; the rest must still be read.
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\nexec 5>&-\ncat <&4 >{at}/err &\ncat <&3 >{at}/out\nwait\necho \"$CONTAINER_ID\" >{at}/done\n",
        at = folder.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let uri = format!("binary://{}", program.display());
    Ok((folder, uri))
}

/// `nerdctl run -d` logs by a program: descriptors 3 and 4 are the outputs, 5 is closed when it is ready.
fn program_log(world: &World) -> Result<()> {
    let (folder, uri) = logger(world, "logger")?;
    let container = world.guest("lines")?.args(&["20"]).log(&uri).id("logged");
    let done = container.run(&world.containerd)?;
    ensure!(done.code == 0, "{done}");
    ensure!(until(RUN, || folder.join("done").exists()), "the program has not seen the end");
    ensure!(fs::read_to_string(folder.join("done"))? == "logged\n");
    ensure!(fs::read_to_string(folder.join("out"))?.lines().count() == 20);
    ensure!(fs::read_to_string(folder.join("err"))? == "error 00000010\nerror 00000020\n");
    Ok(())
}

/// `nerdctl run -d -t`: the console is copied to the program.
fn terminal_log(world: &World) -> Result<()> {
    let (folder, uri) = logger(world, "terminal-logger")?;
    let container = world.guest("hello")?.args(&["console"]).terminal().log(&uri);
    let done = container.run(&world.containerd)?;
    ensure!(done.code == 0, "{done}");
    ensure!(until(RUN, || folder.join("done").exists()), "the program has not seen the end");
    let said = fs::read_to_string(folder.join("out"))?;
    ensure!(said == "Hello, console!\r\n", "{said:?}");
    Ok(())
}

/// More than a pipe holds: the program waits, nobody keeps it for the reader meanwhile, and nothing is lost.
fn read_late(world: &World) -> Result<()> {
    // Sixteen megabytes.
    const COUNT: usize = 200_000;
    let container = world.guest("lines")?.args(&[&COUNT.to_string()]).unread();
    let mut task = container.create(&world.containerd)?;
    task.start()?;
    // Until it waits for the pipe (kernel/fs/pipe.c, `pipe_write`), or for a futex in a thread of the engine's.
    let sleeps =
        || fs::read_to_string(format!("/proc/{}/stat", task.pid)).is_ok_and(|s| s.contains(") S "));
    ensure!(until(RUN, sleeps), "it never waits for the reader");
    let held = measure::anonymous(&measure::process(task.pid));
    ensure!(held < 8 << 20, "{held} bytes are held for the reader");
    ensure!(task.client().state(&task.id)?.0 == TaskStatus::Running);
    task.read();
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    let (stdout, stderr) = task.output();
    let (lines, errors) = (stdout.lines().count(), stderr.lines().count());
    ensure!((lines, errors) == (COUNT, COUNT / 10), "{lines} lines and {errors}");
    Ok(())
}

fn never_read(world: &World) -> Result<()> {
    let mut task = world.guest("lines")?.args(&["20000"]).unread().create(&world.containerd)?;
    task.start()?;
    let done = world.guest("hello")?.run(&world.containerd)?;
    is(done, 0, "Hello, World!\n", "")?;
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    ensure!(task.delete()? == 137);
    Ok(())
}
