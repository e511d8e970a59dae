//! A group that systemd makes: a transient scope, asked for over D-Bus.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

use super::Hierarchies;
use crate::{Error, Result};

/// The unit to make.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) unit: String,
    slice: String,
}

/// A process that holds the scope until the guest is in it.
#[derive(Debug)]
pub(super) struct Placeholder {}

impl Scope {
    pub(super) fn new(slice: &str, prefix: &str, name: &str) -> Result<Scope> {
        Ok(Scope { unit: format!("{prefix}-{name}.scope"), slice: slice.into() })
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.slice).join(&self.unit)
    }
}

pub(super) fn start(
    _scope: &Scope,
    _hierarchies: &Hierarchies,
    _resources: &LinuxResources,
) -> Result<Placeholder> {
    Err(Error::Refused("linux.cgroupsPath names a systemd scope, which comes next".into()))
}

pub(super) fn stop(_unit: &str) {}
