//! A program of ours, run with a limit of time, and ended when nobody wants its result any more.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wherry_sandbox::process::dies_with_us;

/// More of a program's stderr is not kept.
const MAX_SAID: usize = 64 << 10;

/// Tells whoever works for a task that nobody waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Abort(Arc<OwnedFd>);

/// How a program ended, and what it said on stderr.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
}

impl Abort {
    pub(crate) fn new() -> std::io::Result<Abort> {
        Ok(Abort(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Stays told.
    pub(crate) fn tell(&self) {
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Whether it is told within this time.
    pub(crate) fn is_told_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(time).ok();
        poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

/// Runs `command` to its end, `limit` at most, and hears its stderr. `started` hears its pid.
pub(crate) fn run(
    mut command: Command,
    limit: Duration,
    abort: &Abort,
    started: &dyn Fn(u32),
) -> Result<Ended, String> {
    command.stderr(Stdio::piped());
    run_on_own_streams(command, limit, abort, started)
}

/// As [`run`], for a command whose streams are somebody's.
pub(crate) fn run_on_own_streams(
    mut command: Command,
    limit: Duration,
    abort: &Abort,
    started: &dyn Fn(u32),
) -> Result<Ended, String> {
    let program = command.get_program().to_owned();
    let failed = |e: std::io::Error| format!("cannot run {}: {e}", name(&program));
    dies_with_us(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds descriptors that are the child's alone now.
    drop(command);
    started(child.id());
    let mut said = Vec::new();
    let stderr = child.stderr.take();
    let ended = attend(&child, stderr, &mut said, Instant::now() + limit, abort);
    if ended.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    ended.map_err(|how| format!("{} {how}", name(&program)))?;
    Ok(Ended { status, said: String::from_utf8_lossy(&said).into_owned() })
}

/// A program that is run by a descriptor has the name that it was opened by.
fn name(program: &OsStr) -> String {
    let path = Path::new(program);
    let opened = path.starts_with("/proc/self/fd").then(|| std::fs::read_link(path).ok()).flatten();
    opened.unwrap_or_else(|| path.into()).display().to_string()
}

fn attend(
    child: &std::process::Child,
    stderr: Option<std::process::ChildStderr>,
    said: &mut Vec<u8>,
    end: Instant,
    abort: &Abort,
) -> Result<(), String> {
    let told = |e: rustix::io::Errno| e.to_string();
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(told)?;
    let mut stderr = stderr.map(|stderr| File::from(OwnedFd::from(stderr)));
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("did not end in time".into());
        }
        let timeout = Timespec::try_from(left).ok();
        let mut fds = vec![
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(abort.0.as_fd(), PollFlags::IN),
        ];
        fds.extend(stderr.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(told(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[1] {
            return Err("was given up".into());
        }
        match (&mut stderr, ready.get(2)) {
            (Some(pipe), Some(true)) => {
                let mut chunk = [0; 4096];
                match pipe.read(&mut chunk) {
                    Ok(0) | Err(_) => stderr = None,
                    Ok(n) => {
                        let room = MAX_SAID.saturating_sub(said.len());
                        said.extend_from_slice(&chunk[..n.min(room)]);
                    }
                }
            }
            _ if ready[0] => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, limit: Duration, abort: bool) -> Result<(Option<i32>, String), String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let flag = Abort::new().unwrap();
        if abort {
            flag.tell();
        }
        run(command, limit, &flag, &|_| {}).map(|ended| (ended.status.code(), ended.said))
    }

    #[test]
    fn a_program_is_heard_limited_and_given_up() {
        let long = Duration::from_secs(60);
        assert_eq!(check("echo no >&2; exit 3", long, false), Ok((Some(3), "no\n".into())));
        let short = Duration::from_millis(20);
        assert_eq!(check("sleep 60", short, false), Err("/bin/sh did not end in time".into()));
        assert_eq!(check("sleep 60", long, true), Err("/bin/sh was given up".into()));
    }
}
