//! A process becomes two while it has one thread: how a shim leaves its parent.

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
