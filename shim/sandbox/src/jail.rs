//! The compiler's jail: no files, no network, no processes, little memory and time.

use crate::{Error, Result};

/// What the compiler may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    pub cpu_seconds: u64,
    /// Bytes of compiled code.
    pub output: u64,
}

/// Locks this process up, with descriptors 0, 1 and 2 and nothing else. Threads may follow.
pub fn enter(_limits: &Limits) -> Result<()> {
    Err(Error::Refused("jail".into()))
}
