//! What all cases are told in: containers that run to their end, and containers that are kept for a while.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wherry_e2e::command::{Output, until};
use wherry_e2e::docker::Docker;

/// How long anything may take that happens by itself.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn is(output: Output, code: i32, stdout: &str, stderr: &str) -> Result<()> {
    let expected = Output { code, stdout: stdout.to_string(), stderr: stderr.to_string() };
    ensure!(output == expected, "got {output}\nexpected {expected}");
    Ok(())
}

/// Waits until `what` holds, or tells what it last was.
pub(crate) fn soon<T: std::fmt::Debug>(
    mut what: impl FnMut() -> Result<T>,
    holds: impl Fn(&T) -> bool,
) -> Result<T> {
    let mut last = None;
    let held = until(SOON, || {
        last = Some(what());
        matches!(&last, Some(Ok(value)) if holds(value))
    });
    let last = last.context("nobody asked")??;
    ensure!(held, "still {last:?}");
    Ok(last)
}

fn words<'a>(
    first: &[&'a str],
    image: &'a str,
    options: &[&'a str],
    args: &[&'a str],
) -> Vec<&'a str> {
    [first, options, &[image], args].concat()
}

/// `docker run OPTIONS IMAGE ARGS` of a guest.
pub(crate) fn run(
    docker: &Docker,
    guest: &str,
    options: &[&str],
    args: &[&str],
    input: &str,
) -> Result<Output> {
    let image = docker.load(&docker.world().image(guest)?)?;
    docker.docker(&words(&["run", "--runtime", docker.runtime()], &image, options, args), input)
}

/// `docker run --rm OPTIONS IMAGE WORDS`, where the words begin with the name of a tool.
pub(crate) fn tool(docker: &Docker, options: &[&str], args: &[&str]) -> Result<Output> {
    let image = docker.load(&docker.world().toolbox()?)?;
    let first = ["run", "--rm", "--runtime", docker.runtime()];
    docker.docker(&words(&first, &image, options, args), "")
}

/// What a script of a shell in a container prints, if all is well.
pub(crate) fn script(docker: &Docker, options: &[&str], text: &str) -> Result<String> {
    Ok(tool(docker, options, &["sh", "-c", text])?.ok()?.stdout)
}

/// Something of Docker's that is taken away again, however a case ends.
pub(crate) struct Kept<'a> {
    pub(crate) docker: &'a Docker,
    /// The id of a container, the name of anything else.
    pub(crate) id: String,
    remove: &'static [&'static str],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let words = [self.remove, &[&self.id]].concat();
        // What remains all the same, the suite finds.
        self.docker.docker(&words, "").ok();
    }
}

impl<'a> Kept<'a> {
    /// A container of a guest, detached.
    pub(crate) fn guest(
        docker: &'a Docker,
        guest: &str,
        options: &[&str],
        args: &[&str],
    ) -> Result<Kept<'a>> {
        let image = docker.load(&docker.world().image(guest)?)?;
        Kept::container(docker, "run", &image, options, args)
    }

    /// A container of a tool, detached.
    pub(crate) fn tool(docker: &'a Docker, options: &[&str], args: &[&str]) -> Result<Kept<'a>> {
        let image = docker.load(&docker.world().toolbox()?)?;
        Kept::container(docker, "run", &image, options, args)
    }

    /// A container that does nothing, for what is done beside it.
    pub(crate) fn idle(docker: &'a Docker, options: &[&str]) -> Result<Kept<'a>> {
        Kept::tool(docker, options, &["sleep", "1000"])
    }

    /// `docker run` or `docker create`.
    pub(crate) fn container(
        docker: &'a Docker,
        how: &str,
        image: &str,
        options: &[&str],
        args: &[&str],
    ) -> Result<Kept<'a>> {
        let first: &[&str] = if how == "run" { &["run", "--detach"] } else { &[how] };
        let first = [first, &["--runtime", docker.runtime()]].concat();
        let id = docker.ask(&words(&first, image, options, args))?;
        Ok(Kept { docker, id, remove: &["rm", "--force", "--volumes"] })
    }

    /// A network of a user.
    pub(crate) fn network(docker: &'a Docker, name: &str) -> Result<Kept<'a>> {
        docker.ask(&["network", "create", name])?;
        Ok(Kept { docker, id: name.to_string(), remove: &["network", "rm"] })
    }

    pub(crate) fn volume(docker: &'a Docker, name: &str) -> Result<Kept<'a>> {
        docker.ask(&["volume", "create", name])?;
        Ok(Kept { docker, id: name.to_string(), remove: &["volume", "rm"] })
    }

    /// An image that a case makes itself.
    pub(crate) fn image(docker: &'a Docker, reference: &str) -> Kept<'a> {
        Kept { docker, id: reference.to_string(), remove: &["rmi", "--force"] }
    }

    /// What is told of it in this format of `docker inspect`.
    pub(crate) fn told(&self, format: &str) -> Result<String> {
        self.docker.ask(&["inspect", "--format", format, &self.id])
    }

    pub(crate) fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.told("{{json .State}}")?)?)
    }

    pub(crate) fn status(&self) -> Result<String> {
        self.told("{{.State.Status}}")
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.told("{{.State.Pid}}")?.parse().context("the pid")
    }

    /// Waits for its end, and says its exit code.
    pub(crate) fn ended(&self) -> Result<i32> {
        self.docker.ask(&["wait", &self.id])?.parse().context("the exit code")
    }

    /// `docker VERB WORDS ID`.
    pub(crate) fn done(&self, first: &[&str]) -> Result<String> {
        self.docker.ask(&[first, &[&self.id]].concat())
    }

    pub(crate) fn exec(&self, options: &[&str], args: &[&str], input: &str) -> Result<Output> {
        self.docker.docker(&words(&["exec"], &self.id, options, args), input)
    }

    /// What a script beside its program prints, if all is well.
    pub(crate) fn script(&self, text: &str) -> Result<String> {
        Ok(self.exec(&[], &["sh", "-c", text], "")?.ok()?.stdout)
    }
}
