//! Programs of the node, run to their end, which has to come in time.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// containerd takes 0.2 s to tell its configuration on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// containerd itself waits for this at its start.
pub(crate) const PATIENCE_OF_INFO: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Its last words.
    pub(crate) fn complaint(&self) -> String {
        let last = self.stderr.lines().rev().find(|line| !line.trim().is_empty());
        format!("{}: {}", self.status, last.unwrap_or("it says nothing"))
    }
}

pub(crate) fn run(command: &mut Command, patience: Duration) -> Result<Output> {
    let name = Path::new(command.get_program()).display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("{name} can't be run"))?;
    let pid = rustix::process::Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(patience) else {
        // It is our child and nobody has waited for it: the pid is its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        bail!("{name} did not end within {} s", patience.as_secs());
    };
    let output = output.with_context(|| name)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) })
}
