//! `binary://`: a program that takes the logs of a container (containerd,
//! `core/runtime/v2/README.md`, "Logging": descriptors 3 and 4 are stdout and stderr, closing 5
//! says that it is ready).

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio as Std};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Error, unescape};
use crate::reaper;

/// As containerd's `binaryIOProcStartTimeout`.
const START: Duration = Duration::from_secs(10);
/// How long it may go on by itself once its pipes have ended.
const LINGER: Duration = Duration::from_secs(2);
/// As containerd's `binaryIOProcTermTimeout`.
const END: Duration = Duration::from_secs(12);

/// A log program. Its container's end is told to it by the end of its pipes.
///
/// Known by its pidfd alone: one that dies early is taken as an orphan ([`crate::reaper::adopt`]), and its pid may
/// be anybody's by the time its container ends.
#[derive(Debug)]
pub(crate) struct Logger(OwnedFd);

impl Logger {
    /// Of a child that was started just now, and whose status nobody has taken yet.
    fn of(child: &Child) -> io::Result<Logger> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Logger(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Waits for its end; one that does not come to it by the end of its pipes gets SIGTERM, as
    /// containerd sends it, and 12 seconds later SIGKILL.
    pub(crate) fn end(self) {
        if readable(&self.0, LINGER) == Ok(false) {
            let _ = pidfd_send_signal(&self.0, Signal::TERM);
            let _ = readable(&self.0, END);
        }
        self.kill();
    }

    fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
        reaper::reap(&self.0);
    }
}

pub(super) fn binary(name: &str) -> Option<&str> {
    name.strip_prefix("binary://")
}

/// Starts the program and hears that it is ready. Its standard output, its standard error, itself.
pub(super) fn start(
    uri: &str,
    namespace: &str,
    id: &str,
) -> Result<(OwnedFd, OwnedFd, Logger), Error> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let program = PathBuf::from(unescape(path));
    let failed = |source: io::Error| Error::Logger { program: program.clone(), source };
    let (out_reader, out) = pipe().map_err(failed)?;
    let (err_reader, err) = pipe().map_err(failed)?;
    let (ready, ready_writer) = pipe().map_err(failed)?;
    let mut command = Command::new(&program);
    command
        .args(arguments(query))
        .env_clear()
        .env("CONTAINER_ID", id)
        .env("CONTAINER_NAMESPACE", namespace)
        .stdin(Std::null())
        .stdout(Std::null())
        .stderr(Std::null());
    let fds = [out_reader, err_reader, ready_writer].into_iter().zip(3..);
    command
        .fd_mappings(fds.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect())
        .map_err(|error| failed(io::Error::other(error)))?;
    let logger = command.spawn().and_then(|child| Logger::of(&child)).map_err(failed)?;
    // The command holds the parent's copies of the descriptors: closing them lets the ends be seen.
    drop(command);
    if let Err(mut how) = wait_until_ready(ready) {
        if reaper::has_ended(&logger.0) {
            how = reaper::reap(&logger.0).ended.to_string();
        } else {
            logger.kill();
        }
        return Err(Error::NotReady { program, how });
    }
    Ok((out, err, logger))
}

/// It is ready when it closes its descriptor; dead programs close theirs too.
fn wait_until_ready(ready: OwnedFd) -> Result<(), String> {
    match readable(&ready, START) {
        Ok(true) => {}
        Ok(false) => return Err("said nothing for 10 seconds".into()),
        Err(error) => return Err(error.to_string()),
    }
    match rustix::io::read(&ready, &mut [0]) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn readable(fd: &OwnedFd, limit: Duration) -> rustix::io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(|_| rustix::io::Errno::INVAL)?;
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&limit))).map(|n| n > 0)
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// The query's keys and values, in turn, become the arguments (containerd, `NewBinaryCmd`).
fn arguments(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let words = pairs.flat_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        [unescape(key), unescape(value)]
    });
    words.filter(|word| !word.is_empty()).collect()
}
