//! Paths that are hidden (`linux.maskedPaths`) or cannot be written (`linux.readonlyPaths`).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
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

/// A read-only file system to lay over folders. One serves them all: to make one takes longer than all the rest.
///
/// Its root covers the guest's own process in procfs, with a few files; a folder in it, which is empty, covers
/// everything else.
#[derive(Debug)]
pub(super) struct Veil {
    files: Vec<(&'static str, String)>,
    attached: Option<OwnedFd>,
}

/// A process has such a folder anyway.
const EMPTY: &str = "fd";

impl Veil {
    /// `files` are those of the root: name and content.
    pub(super) fn new(files: Vec<(&'static str, String)>) -> Veil {
        Veil { files, attached: None }
    }

    /// Covers a folder with nothing.
    pub(super) fn cover(&mut self, folder: &OwnedFd) -> rustix::io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        match &self.attached {
            Some(first) => attach(open_tree(first, EMPTY, flags)?, folder),
            None => {
                // A part can be had only of what is mounted; then it lies on top of that.
                let first = self.lay(folder)?;
                attach(open_tree(first, EMPTY, flags)?, folder)
            }
        }
    }

    /// Covers the folder of the guest's own process.
    pub(super) fn cover_own(&mut self, folder: &OwnedFd) -> rustix::io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        match &self.attached {
            Some(first) => attach(open_tree(first, "", flags)?, folder),
            None => self.lay(folder).map(|_| ()),
        }
    }

    fn lay(&mut self, folder: &OwnedFd) -> rustix::io::Result<&OwnedFd> {
        let made = make(&self.files)?;
        attach(&made, folder)?;
        Ok(self.attached.insert(made))
    }
}

fn make(files: &[(&'static str, String)]) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "tmpfs")?;
    fsconfig_set_string(&fs, "mode", "0555")?;
    fsconfig_set_string(&fs, "nr_inodes", "8")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let made = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::fs::mkdirat(&made, EMPTY, Mode::from(0o555))?;
    for (name, content) in files {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&made, *name, flags, Mode::from(0o444))?;
        // A tmpfs takes it whole.
        rustix::io::write(&file, content.as_bytes())?;
    }
    let readonly = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    attributes::change(&made, readonly, false)?;
    Ok(made)
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
