//! The root of the container: made ready, and changed to.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags as Spread, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    move_mount, unmount,
};
use wherry_core::plan::{self, Propagation};

use super::{Host, attributes, devices, mount, paths, procfs};
use crate::Result;
use crate::error::Doing;
use crate::wire::Setup;

/// The new root, mounted and not yet changed to.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) folder: OwnedFd,
}

/// Everything up to the hooks.
pub(super) fn prepare(
    sandbox: &plan::Sandbox,
    sources: Vec<OwnedFd>,
    terminal: bool,
) -> Result<Root> {
    let mut sources = sources.into_iter();
    spread(sandbox)?;
    let tree = match sources.next() {
        Some(tree) => tree,
        None => open_tree(&sandbox.rootfs)?,
    };
    place(&tree, &sandbox.rootfs)?;
    let root = Root { folder: tree };
    for one in &sandbox.mounts {
        mount::perform(one, sandbox, &root, &mut sources)?;
    }
    super::make_cwd(sandbox, &root)?;
    devices::make(sandbox, &root, terminal)?;
    Ok(root)
}

/// Everything after the hooks, up to being inside. Returns the table of the mounts there.
pub(super) fn finish(setup: &Setup, root: &Root, host: &Host) -> Result<String> {
    let sandbox = &setup.sandbox;
    let mut veil = paths::Veil::new(procfs::own_files(setup, host)?);
    paths::make_readonly(sandbox, root)?;
    paths::mask(sandbox, root, &mut veil)?;
    for one in &sandbox.mounts {
        mount::close(one, root)?;
    }
    if sandbox.rootfs_readonly {
        let readonly = crate::sys::MountAttr {
            set: libc::MOUNT_ATTR_RDONLY,
            ..crate::sys::MountAttr::default()
        };
        attributes::change(&root.folder, readonly, false)
            .doing(|| "making the root file system read-only (root.readonly)".into())?;
    }
    pivot(root)?;
    // The table then has the container's mounts and not the thousands of a busy node.
    let table = procfs::read(host, "mountinfo")?;
    procfs::hide(root, &table, &mut veil)?;
    if let Some(kind @ (Propagation::Shared | Propagation::Unbindable)) = sandbox.rootfs_propagation
    {
        mount_change("/", Spread::from_bits_retain(attributes::propagation(kind) as u32))
            .doing(|| "setting linux.rootfsPropagation".into())?;
    }
    Ok(table)
}

/// The root file system with all that is mounted in it, as a tree of its own.
pub(super) fn open_tree(rootfs: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, rootfs, flags)
        .doing(|| format!("opening root.path {}", rootfs.display()))
}

/// pivot_root(2) wants a mount, and the flags of this one are the container's own.
///
/// In a user namespace the way to the root may be closed (a bundle is its owner's alone): then it
/// is mounted where everyone gets, in this mount namespace only.
fn place(tree: &OwnedFd, rootfs: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let mut placed = move_mount(tree, "", CWD, rootfs, flags);
    for other in ["/tmp", "/run", "/mnt"] {
        if placed != Err(Errno::ACCESS) {
            break;
        }
        placed = move_mount(tree, "", CWD, other, flags);
    }
    placed.doing(|| format!("mounting root.path {} on itself", rootfs.display()))
}

/// How mounts of this namespace and the host's reach each other, from now on: not at all from
/// here to there (runc `prepareRoot`), unless the spec wants it.
fn spread(sandbox: &plan::Sandbox) -> Result<()> {
    let kind = sandbox.rootfs_propagation.unwrap_or(Propagation::Slave);
    let bits = attributes::propagation(kind) as u32;
    mount_change("/", Spread::from_bits_retain(bits) | Spread::REC)
        .doing(|| "setting the propagation of the old root (linux.rootfsPropagation)".into())?;
    if kind == Propagation::Shared {
        // Ours are not for the host even so (runc `rootfsParentMountPrivate`).
        let point = mount_point(&sandbox.rootfs)?;
        mount_change(point, Spread::PRIVATE)
            .doing(|| format!("making the mount {} private", point.display()))?;
    }
    Ok(())
}

/// The root of the mount that holds `path`.
fn mount_point(path: &Path) -> Result<&Path> {
    let id = |path: &Path| {
        rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)
            .map(|s| s.stx_mnt_id)
            .doing(|| format!("looking at {}", path.display()))
    };
    let own = id(path)?;
    let mut point = path;
    for parent in path.ancestors().skip(1) {
        if id(parent)? != own {
            break;
        }
        point = parent;
    }
    Ok(point)
}

/// As runc's `pivotRoot`: the old root lands on the new one and is taken off, so that no folder
/// in the image is needed for it.
fn pivot(root: &Root) -> Result<()> {
    let doing = |what: &'static str| move || format!("changing to the new root: {what}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).doing(doing("opening the old one"))?;
    rustix::process::fchdir(root.folder.as_fd()).doing(doing("going to it"))?;
    rustix::process::pivot_root(".", ".").doing(doing("pivot_root"))?;
    rustix::process::fchdir(&old).doing(doing("going to the old one"))?;
    // Taking it off here must not take it off the host.
    mount_change(".", Spread::DOWNSTREAM | Spread::REC).doing(doing("cutting the old one off"))?;
    unmount(".", UnmountFlags::DETACH).doing(doing("taking the old one off"))?;
    rustix::process::chdir("/").doing(doing("going to it"))
}
