//! The birth of a guest: a process in its namespaces and cgroup, with nothing but its wire.

use std::fs::File;
use std::os::fd::OwnedFd;

use wherry_core::plan;

use crate::cgroup::Cgroup;
use crate::wire::Channel;
use crate::{Error, Result};

/// A guest process, waiting for its setup.
#[derive(Debug)]
pub struct Child {
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub channel: Channel,
    /// To be sent with the setup, as [`crate::wire::SetupFds::sources`].
    pub sources: Vec<OwnedFd>,
}

/// Starts `program` (a static executable that speaks the wire) as the sandbox's first process.
pub fn spawn(_program: &File, _sandbox: &plan::Sandbox, _cgroup: &Cgroup) -> Result<Child> {
    Err(Error::Refused("spawn".into()))
}
