//! `docker attach` and terminals, with a person's keys.

use anyhow::{Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};
use wherry_e2e::terminal::Person;

use crate::kept::{Kept, is};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("attach_shows_what_comes_and_ends_with_the_code", For::Any, attached),
    ("attach_leaves_by_its_keys_and_comes_back", For::Any, keys),
    ("run_it_is_a_shell_that_exits", For::Any, shell),
    ("exec_it_is_a_shell_beside_the_program", For::Any, |d| {
        let idle = Kept::idle(d, &[])?;
        let mut person = Person::at(d.command(&["exec", "-it", &idle.id, "sh"]))?;
        person.types("echo sum $((40+2))\n", "sum 42")?;
        person.types("exit 5\n", "")?;
        ensure!(person.left()? == 5);
        Ok(())
    }),
];

fn attached(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().image("cat")?)?;
    let cat = Kept::container(docker, "create", &image, &["-i"], &[])?;
    let done = docker.docker(&["start", "--attach", "--interactive", &cat.id], "to and fro\n")?;
    is(done, 0, "to and fro\n", "")?;
    let image = docker.load(&docker.world().image("exit")?)?;
    let exit = Kept::container(docker, "create", &image, &[], &["42"])?;
    is(docker.docker(&["start", "--attach", &exit.id], "")?, 42, "", "")
}

fn keys(docker: &Docker) -> Result<()> {
    let shell = Kept::tool(docker, &["-it"], &["sh"])?;
    let mut person = Person::at(docker.command(&["attach", &shell.id]))?;
    person.types("kept=7\necho sum $((40+2))\n", "sum 42")?;
    person.types("\x10\x11", "read escape sequence")?;
    // Docker's client calls a detach an error of its own.
    ensure!(person.left()? == 1);
    ensure!(shell.status()? == "running", "{}", shell.state()?);
    let mut person =
        Person::at(docker.command(&["attach", "--detach-keys", "ctrl-a,d", &shell.id]))?;
    person.types("echo still $kept\n", "still 7")?;
    person.types("\x01d", "read escape sequence")?;
    person.left()?;
    let mut person = Person::at(docker.command(&["attach", &shell.id]))?;
    person.types("exit 6\n", "")?;
    ensure!(person.left()? == 6);
    ensure!(shell.ended()? == 6, "{}", shell.state()?);
    Ok(())
}

fn shell(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().toolbox()?)?;
    let run = || {
        let words = ["run", "--rm", "-it", "--runtime", docker.runtime(), &image, "sh"];
        Person::at(docker.command(&words))
    };
    let mut person = run()?;
    person.types("test -t 0 && test -t 2 && echo sum $((40+2))\n", "sum 42")?;
    person.types("exit 7\n", "")?;
    ensure!(person.left()? == 7);
    // A key that interrupts goes to whoever has the terminal: `sleep`, or a shell that is one program with it.
    let mut person = run()?;
    person.types("echo sum $((40+2)); sleep 1000\n", "sum 42")?;
    person.types("\x03", "^C")?;
    if docker.world().runtime() == Runtime::Runc {
        person.types("exit 130\n", "")?;
    }
    ensure!(person.left()? == 130);
    Ok(())
}
