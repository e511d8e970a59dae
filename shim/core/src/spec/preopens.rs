//! The folders a guest may open: its root, and each volume by its own name.
//!
//! Everything in the container is visible below `/`. Volumes are preopened besides, so that a guest
//! keeps them when its root is withheld, and so that a read-only one is read-only in WASI's rights
//! too, not only in the mount's flags. That is so only where everything below is read-only, which
//! the sandbox sees when all is mounted: a root that is read-only has writable mounts in it
//! (`/dev/shm`, the termination log, a volume by another name), and then the mounts' own flags have
//! to say it, as they do for any program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::annotations::RootPreopen;
use crate::plan::{Mount, MountWhat, Preopen, Sandbox};

const MS_RDONLY: u64 = 1;

/// `/` first, which is what guests that take the first preopen for "the" root expect; then volumes
/// in the order of their mounts.
pub(super) fn of(
    sandbox: &Sandbox,
    root: RootPreopen,
    directories: &BTreeSet<PathBuf>,
) -> Vec<Preopen> {
    let mut volumes: Vec<Preopen> = Vec::new();
    for mount in &sandbox.mounts {
        // What is mounted later hides what was mounted there and below.
        volumes.retain(|earlier| !Path::new(&earlier.path).starts_with(&mount.destination));
        if !is_volume(mount, root, directories) {
            continue;
        }
        // WASI's names are Unicode: a volume with another one can't be given to a guest.
        if let Some(path) = mount.destination.to_str() {
            volumes.push(Preopen { path: path.to_owned(), read_only: is_read_only(mount) });
        }
    }
    let read_only = sandbox.rootfs_readonly;
    let whole = (root == RootPreopen::Given).then(|| Preopen { path: "/".into(), read_only });
    // A volume in place of the root is the root.
    let replaced = volumes.iter().any(|volume| volume.path == "/");
    whole.filter(|_| !replaced).into_iter().chain(volumes).collect()
}

/// Kernel file systems are no volumes, and neither is what a runtime puts into every container:
/// all below `/dev`, `/proc` and `/sys`, and the tmpfs on `/run` which `ctr` adds. They stay
/// visible through `/`. File mounts are no folders.
fn is_volume(mount: &Mount, root: RootPreopen, directories: &BTreeSet<PathBuf>) -> bool {
    if ["/dev", "/proc", "/sys"].iter().any(|kernel| mount.destination.starts_with(kernel)) {
        return false;
    }
    match &mount.what {
        MountWhat::Bind { source, .. } => directories.contains(source),
        MountWhat::Filesystem { kind, .. } if kind == "tmpfs" => {
            root == RootPreopen::Withheld || mount.destination != Path::new("/run")
        }
        MountWhat::Filesystem { kind, .. } => {
            !["proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"].contains(&kind.as_str())
        }
        MountWhat::Cgroup => false,
    }
}

fn is_read_only(mount: &Mount) -> bool {
    // MOUNT_ATTR_RDONLY has the same bit.
    (mount.flags.set | mount.recursive.set) & MS_RDONLY != 0
}
