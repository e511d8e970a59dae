//! One run at a time on a node.

use std::fs::File;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{durable, home};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until the other run has ended.
    ForTheOther,
    No,
}

/// Held until the value goes, or the process.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "holds the lock")] File);

/// Takes the lock, which is the folder itself: nothing is left of it.
pub(crate) fn take(wait: Wait) -> Result<Lock> {
    durable::folders(home::HOME.as_ref())?;
    let folder = File::open(home::HOME).with_context(|| format!("can't open {}", home::HOME))?;
    let operation = match wait {
        Wait::ForTheOther => FlockOperation::LockExclusive,
        Wait::No => FlockOperation::NonBlockingLockExclusive,
    };
    flock(&folder, operation).context("another run of wherry-node is under way on this node")?;
    Ok(Lock(folder))
}
