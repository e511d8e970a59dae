//! What the shim does with processes that no safe library does: leave its parent, send any signal, and be the init
//! of a pod.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use crate::error::Doing;
use crate::{Error, Result};

/// Which of the two this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    Parent { child: u32 },
    Child,
}

/// Forks, and refuses to if there are threads: the child of a threaded process may hardly do anything.
pub fn fork() -> Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")
        .doing(|| "counting this process's threads".into())?
        .count();
    if threads != 1 {
        return Err(Error::Refused(format!("a process with {threads} threads cannot be forked")));
    }
    // SAFETY: with a single thread nothing is locked or half done in the child, which may
    // therefore go on as the parent would.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        child if child > 0 => Ok(Fork::Parent { child: child.unsigned_abs() }),
        _ => Err(std::io::Error::last_os_error()).doing(|| "forking".into()),
    }
}

/// Has the program killed as soon as the thread that starts it has ended, and so with this process, however that
/// ends: whoever cleans up after us can't know of a program that was started and not yet written down.
pub fn dies_with_us(command: &mut Command) {
    let us = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have ended before the kernel was told.
        if getppid() != Some(us) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(bind) };
}

/// Sends a signal by its number, real-time ones included. A process that has ended is no failure.
pub fn signal(pidfd: impl AsFd, number: u32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers and a null pointer, which asks the kernel to fill in the rest.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match sent {
        0 => Ok(()),
        _ => match std::io::Error::last_os_error() {
            gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error).doing(|| format!("sending signal {number}")),
        },
    }
}

/// Keeps the init of a pod's namespaces from being ended before [`Pausing::wait`] is there to hear it. Children
/// that others leave to this process are never zombies: the kernel reaps those of a parent that ignores SIGCHLD
/// (wait(2)).
#[derive(Debug)]
pub struct Pausing(libc::sigset_t);

impl Pausing {
    pub fn begin() -> Pausing {
        // SAFETY: a set of signals may hold any bytes, and is emptied before it is used.
        let mut stopping = unsafe { std::mem::zeroed() };
        // SAFETY: all of these take a set that lives in this frame, or numbers; SIG_IGN installs no code.
        unsafe {
            libc::sigemptyset(&raw mut stopping);
            libc::sigaddset(&raw mut stopping, libc::SIGINT);
            libc::sigaddset(&raw mut stopping, libc::SIGTERM);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const stopping, std::ptr::null_mut());
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        }
        Pausing(stopping)
    }

    /// Until SIGINT or SIGTERM comes (Kubernetes, `build/pause/linux/pause.c`).
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: both live in this frame and in `self`.
        while unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } != 0 {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_program_dies_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            dies_with_us(command.arg("600"));
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
