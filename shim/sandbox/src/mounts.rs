//! The root file system that containerd asks for: mounted by the shim, before there is a guest.

use std::path::Path;

use crate::{Error, Result};

/// One mount of containerd's `CreateTaskRequest.rootfs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsMount {
    pub kind: String,
    pub source: String,
    pub options: Vec<String>,
}

/// Mounts these one over the other on `target`. Undoes everything on failure.
pub fn mount_rootfs(_mounts: &[RootfsMount], _target: &Path) -> Result<()> {
    Err(Error::Refused("mounts".into()))
}

/// Unmounts everything that is mounted on `target`, lazily. Nothing there is done already.
pub fn unmount_rootfs(_target: &Path) -> Result<()> {
    Err(Error::Refused("mounts".into()))
}
