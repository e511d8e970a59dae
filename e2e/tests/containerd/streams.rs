//! stdin, stdout and stderr: whole, in order, and closed when they are over.

use anyhow::{Result, ensure};
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
    ("output_comes_before_the_end", For::Any, comes_at_once),
    ("a_log_is_complete", For::Any, |w| complete(w, "lines")),
    ("a_log_is_complete_p2", For::Any, |w| complete(w, "lines-p2")),
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
