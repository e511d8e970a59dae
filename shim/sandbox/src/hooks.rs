//! Hooks of the runtime spec: programs run at points of a container's life.
//!
//! Which point runs where is not decided here: `prestart`, `createRuntime`, `poststart` and
//! `poststop` are the shim's, `createContainer` and `startContainer` the guest's.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::error::Doing;
use crate::{Error, Result};

/// A hook's stderr is quoted in an error up to this many bytes.
const QUOTED: u64 = 4096;

/// The container as hooks are told of it on stdin (runtime spec, "State").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub status: Status,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    pub bundle: PathBuf,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Stopped,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl State {
    /// The same container at another point of its life.
    pub fn at(&self, status: Status) -> State {
        State { status, ..self.clone() }
    }

    fn json(&self) -> Vec<u8> {
        // A struct of strings, numbers and a string-keyed map always becomes JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Runs hooks in order; the first that fails ends it.
pub fn run_all(point: &str, hooks: Option<&Vec<Hook>>, state: &State) -> Result<()> {
    for hook in hooks.into_iter().flatten() {
        run(point, hook, state)?;
    }
    Ok(())
}

/// Runs one hook with the state on its stdin, to its end or its timeout.
///
/// The environment is the hook's own and nothing else (runc `libcontainer/configs/config.go`
/// `Command.Run`). A hook past its timeout is killed with its process group.
pub fn run(point: &str, hook: &Hook, state: &State) -> Result<()> {
    let name = || format!("the {point} hook {}", hook.path().display());
    let mut child =
        command(hook).spawn().doing(|| format!("running {} (hooks.{point})", name()))?;
    let deadline = hook.timeout().map(|s| Duration::from_secs(s.max(0).unsigned_abs()));
    let ended = attend(&mut child, &state.json(), deadline).doing(|| format!("running {}", name()));
    if !matches!(ended, Ok(Ended { status: Some(_), .. })) {
        kill_group(&mut child);
    }
    let Ended { status, stderr } = ended?;
    let said = String::from_utf8_lossy(&stderr);
    let said = if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) };
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Hook(format!("{} {}{said}", name(), how(status)))),
        None => Err(Error::Hook(format!(
            "{} did not end within its timeout of {} s{said}",
            name(),
            deadline.unwrap_or_default().as_secs()
        ))),
    }
}

fn command(hook: &Hook) -> Command {
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for entry in hook.env().iter().flatten() {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(key, value);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    command
}

struct Ended {
    /// `None` past the deadline.
    status: Option<ExitStatus>,
    stderr: Vec<u8>,
}

/// Feeds stdin, collects stderr and waits, on one thread: the guest may not have others yet.
fn attend(child: &mut Child, input: &[u8], limit: Option<Duration>) -> std::io::Result<Ended> {
    let end = limit.map(|limit| Instant::now() + limit);
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // The state is smaller than a pipe, or the hook reads it; one that does not read is no error.
    let mut stdin = child.stdin.take();
    let mut stderr = child.stderr.take();
    if let Some(stdin) = &stdin {
        rustix::io::ioctl_fionbio(stdin, true)?;
    }
    let (mut rest, mut said) = (input, Vec::new());
    loop {
        if let Some(pipe) = &mut stdin {
            match pipe.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                stdin = None;
            }
        }
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        fds.extend(stderr.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let stderr_at = fds.len() - 1;
        fds.extend(stdin.as_ref().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Ended { status: None, stderr: said });
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let exited = !fds[0].revents().is_empty();
        let readable = stderr.is_some() && !fds[stderr_at].revents().is_empty();
        drop(fds);
        if readable && let Some(pipe) = &mut stderr {
            let mut chunk = [0; 1024];
            match pipe.read(&mut chunk)? {
                0 => stderr = None,
                n if (said.len() as u64) < QUOTED => said.extend_from_slice(&chunk[..n]),
                _ => {}
            }
        } else if exited {
            // A grandchild may hold stderr open: what is there by now is what is quoted.
            return Ok(Ended { status: Some(child.wait()?), stderr: said });
        }
    }
}

fn kill_group(child: &mut Child) {
    // Its own group, made at spawn; a hook that is already gone is what we want.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    if let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let _ = child.wait();
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(script: &str, timeout: Option<i64>, expect: Expect) {
        let mut hook = Hook::default();
        hook.set_path("/bin/sh".into())
            .set_args(Some(vec!["sh".into(), "-c".into(), script.into()]))
            .set_env(Some(vec!["WHO=me".into()]))
            .set_timeout(timeout);
        let state = State {
            oci_version: "1.2.0".into(),
            id: "c1".into(),
            status: Status::Creating,
            pid: 42,
            bundle: "/b".into(),
            annotations: BTreeMap::new(),
        };
        let told = match run("createRuntime", &hook, &state) {
            Ok(()) => "ok".to_owned(),
            Err(e) => e.sentence(),
        };
        expect.assert_eq(&told);
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        check("exit 0", None, expect!["ok"]);
        check(
            "cat >&2; exit 3",
            Some(10),
            expect![[
                r#"the createRuntime hook /bin/sh ended with code 3: {"ociVersion":"1.2.0","id":"c1","status":"creating","pid":42,"bundle":"/b"}"#
            ]],
        );
        check(
            "echo \"$WHO $HOME\" >&2; exit 1",
            None,
            expect!["the createRuntime hook /bin/sh ended with code 1: me"],
        );
        check("kill -9 $$", None, expect!["the createRuntime hook /bin/sh was killed by signal 9"]);
    }

    #[test]
    fn a_hook_past_its_timeout_is_killed() {
        check(
            "echo waiting >&2; sleep 60 & wait",
            Some(1),
            expect![
                "the createRuntime hook /bin/sh did not end within its timeout of 1 s: waiting"
            ],
        );
    }
}
