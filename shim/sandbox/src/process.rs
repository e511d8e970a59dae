//! What the shim does to processes that no safe library does: leave its parent, and send any signal.

use std::os::fd::{AsFd, AsRawFd};

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
