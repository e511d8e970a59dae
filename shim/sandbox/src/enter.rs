//! From a bare process in new namespaces to a container, in the order of the runtime spec.

use std::os::fd::OwnedFd;

use crate::wire::{Channel, Setup};
use crate::{Error, Result};

/// Inside. Holds what is still to do at start.
#[derive(Debug)]
pub struct Entered {}

/// Enters the sandbox. Call with one thread, after opening whatever the engine needs from
/// `/proc/self` and before touching a byte of the module.
///
/// `sources` are [`crate::wire::SetupFds::sources`].
pub fn enter(_setup: &Setup, _sources: Vec<OwnedFd>, _channel: &mut Channel) -> Result<Entered> {
    Err(Error::Refused("enter".into()))
}

impl Entered {
    /// Runs the `startContainer` hooks, if any: after `Start`, before the first guest instruction.
    pub fn start(self) -> Result<()> {
        Ok(())
    }
}

/// For a guest in a user namespace: it may not walk to where the host keeps its files, so the shim
/// opens them.
pub(crate) fn open_sources(_sandbox: &wherry_core::plan::Sandbox) -> Result<Vec<OwnedFd>> {
    Ok(Vec::new())
}

/// No new executable memory, no programs, no namespaces from now on: after the code is loaded.
pub fn seal() -> Result<()> {
    Err(Error::Refused("seal".into()))
}
