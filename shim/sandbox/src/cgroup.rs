//! The control groups of a container.

use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use wherry_core::plan;

use crate::{Error, Result};

/// Where a container's groups are: all that another process needs to kill and remove them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locator {
    folders: Vec<Folder>,
    /// The systemd unit, if systemd made the group.
    unit: Option<String>,
}

/// One group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Controllers as the kernel names them, `name=systemd` included; empty for v2.
    pub controllers: Vec<String>,
    pub path: std::path::PathBuf,
}

/// The groups of one container, made and held.
#[derive(Debug)]
pub struct Cgroup {
    locator: Locator,
}

/// Tells that the kernel killed something for want of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl Cgroup {
    /// Makes the groups with their resources. Undoes everything on failure.
    pub fn create(_plan: &plan::Cgroup) -> Result<Cgroup> {
        Err(Error::Refused("cgroups".into()))
    }

    /// The groups that another process made. They may be gone.
    pub fn locate(locator: Locator) -> Cgroup {
        Cgroup { locator }
    }

    pub fn locator(&self) -> &Locator {
        &self.locator
    }

    /// The group's folder in the hierarchy of this v1 controller, or the v2 group.
    pub fn folder(&self, controller: &str) -> Option<&std::path::Path> {
        let folders = &self.locator.folders;
        let found = folders
            .iter()
            .find(|f| f.controllers.is_empty() || f.controllers.iter().any(|c| c == controller));
        found.map(|f| f.path.as_path())
    }

    /// The group is one of the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.locator.folders.iter().any(|f| f.controllers.is_empty())
    }

    pub fn add(&self, _pid: u32) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }

    /// All processes in the group and below it.
    pub fn pids(&self) -> Result<Vec<u32>> {
        Err(Error::Refused("cgroups".into()))
    }

    /// Sends SIGKILL to all processes in the group and below it, also those being born.
    pub fn kill_all(&self) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }

    pub fn freeze(&self) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }

    pub fn thaw(&self) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }

    pub fn update(&self, _resources: &LinuxResources) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }

    /// Processes that the kernel killed in this group for want of memory.
    pub fn oom_kills(&self) -> Result<u64> {
        Err(Error::Refused("cgroups".into()))
    }

    /// A descriptor that becomes readable when something may have been killed for want of memory.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        Err(Error::Refused("cgroups".into()))
    }

    /// Removes the groups with their children. Gone already is done.
    pub fn delete(&self) -> Result<()> {
        Err(Error::Refused("cgroups".into()))
    }
}

impl OomWatch {
    /// Takes the event off, so that the descriptor waits for the next one. Never blocks.
    pub fn clear(&self) {}
}

impl std::os::fd::AsFd for OomWatch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::os::fd::AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}
