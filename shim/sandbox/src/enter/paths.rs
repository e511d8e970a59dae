//! Paths that are hidden (`linux.maskedPaths`) or cannot be written (`linux.readonlyPaths`).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use wherry_core::plan;

use super::attributes;
use super::mount::attach;
use super::root::Root;
use crate::Result;
use crate::error::Doing;
use crate::resolve::open_in_root;
use crate::sys::MountAttr;

/// An empty, read-only folder to lay over others. One file system serves them all: to make one
/// takes longer than all the rest.
#[derive(Debug, Default)]
pub(super) struct Veil {
    attached: Option<OwnedFd>,
}

impl Veil {
    /// Covers a folder.
    pub(super) fn cover(&mut self, folder: &OwnedFd) -> rustix::io::Result<()> {
        match &self.attached {
            Some(first) => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_EMPTY_PATH;
                attach(open_tree(first, "", flags)?, folder)
            }
            None => {
                let veil = empty()?;
                attach(&veil, folder)?;
                self.attached = Some(veil);
                Ok(())
            }
        }
    }
}

fn empty() -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "tmpfs")?;
    fsconfig_set_string(&fs, "mode", "0555")?;
    fsconfig_set_string(&fs, "nr_inodes", "2")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Folders under an empty one, files under `/dev/null` (runc `maskPaths`). What is not there needs
/// no mask.
pub(super) fn mask(sandbox: &plan::Sandbox, root: &Root, veil: &mut Veil) -> Result<()> {
    for path in &sandbox.masked_paths {
        mask_one(path, root, veil)
            .doing(|| format!("masking {} (linux.maskedPaths)", path.display()))?;
    }
    Ok(())
}

fn mask_one(path: &Path, root: &Root, veil: &mut Veil) -> rustix::io::Result<()> {
    let Some(target) = find(path, root)? else { return Ok(()) };
    let stat = rustix::fs::fstat(&target)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return veil.cover(&target);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    // The node's own: an image's /dev/null could be anything.
    attach(open_tree(CWD, "/dev/null", flags)?, &target)
}

/// Each becomes a read-only mount of itself (runc `readonlyPath`).
pub(super) fn make_readonly(sandbox: &plan::Sandbox, root: &Root) -> Result<()> {
    for path in &sandbox.readonly_paths {
        make_one_readonly(path, root)
            .doing(|| format!("making {} read-only (linux.readonlyPaths)", path.display()))?;
    }
    Ok(())
}

fn make_one_readonly(path: &Path, root: &Root) -> rustix::io::Result<()> {
    let Some(target) = find(path, root)? else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&target, "", flags)?;
    let readonly = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    attributes::change(&tree, readonly, false)?;
    attach(&tree, &target)
}

fn find(path: &Path, root: &Root) -> rustix::io::Result<Option<OwnedFd>> {
    match open_in_root(&root.folder, path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
