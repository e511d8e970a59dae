//! Id-mapped mounts: the same files with other owners (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`).
//!
//! The kernel takes a mapping as a user namespace that has it. Only who may administer the file system can map a mount
//! of it, so that this is the shim's to do, for guests in user namespaces too.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::pipe::PipeFlags;
use wherry_core::plan::{IdMapping, Ids, Recursive};

use crate::error::Doing;
use crate::spawn;
use crate::sys::{self, MountAttr, Side};
use crate::{Error, Result};

/// The mappings that were needed so far: most mounts of a container have the same.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    known: Vec<(Ids, OwnedFd)>,
}

impl Maps {
    pub(crate) fn namespace(&mut self, ids: &Ids) -> Result<BorrowedFd<'_>> {
        let at = match self.known.iter().position(|(known, _)| known == ids) {
            Some(at) => at,
            None => {
                self.known.push((ids.clone(), namespace(ids)?));
                self.known.len() - 1
            }
        };
        Ok(self.known[at].1.as_fd())
    }
}

/// Maps a tree that is mounted nowhere yet.
pub(crate) fn apply(
    tree: &OwnedFd,
    namespace: BorrowedFd<'_>,
    recursive: Recursive,
) -> rustix::io::Result<()> {
    let userns = namespace.as_raw_fd() as u64;
    let attr = MountAttr { set: libc::MOUNT_ATTR_IDMAP, userns, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), attr, recursive == Recursive::Yes)
}

/// Why a mount cannot be mapped, in words.
pub(crate) fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSYS => " (this kernel has no mount_setattr: it must be 5.12 or newer)",
        Errno::INVAL => {
            " (this kernel's file system there has no id-mapped mounts: they came to ext4, XFS and FAT with Linux \
             5.12, to tmpfs with 6.3; an overlay has them in its layers only, most network file systems nowhere)"
        }
        Errno::PERM => {
            " (it belongs to a user namespace which is not this process's, or it is mapped already)"
        }
        _ => "",
    }
}

/// A copy of a tree of mounts, with its ids mapped, for somebody else to mount.
pub(crate) fn read_only_copy(of: &Path, namespace: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, of, flags)?;
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    sys::mount_setattr(tree.as_fd(), attr, true)?;
    apply(&tree, namespace, Recursive::Yes)?;
    Ok(tree)
}

/// A user namespace with these mappings.
pub(crate) fn namespace(ids: &Ids) -> Result<OwnedFd> {
    match ids {
        Ids::Mapped { uids, gids } => make(uids, gids),
        Ids::OfNamespace(path) => {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| {
                format!("opening the user namespace {} (linux.namespaces)", path.display())
            })
        }
    }
}

/// A user namespace needs a process to be born: one that waits until it is mapped and opened.
fn make(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (held, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .doing(|| "making a pipe for an id mapping".into())?;
    let mask = sys::block_signals();
    // SAFETY: `wait_in_child` makes system calls on two numbers, and never returns.
    let side = unsafe { sys::fork(Kind::User as u64, None, libc::SIGCHLD) };
    if let Ok(Side::Child) = side {
        wait_in_child(&held, &end);
    }
    sys::set_blocked_signals(mask);
    let born = match side {
        Ok(Side::Parent(born)) => born,
        Ok(Side::Child) => return Err(Error::Refused("the child of a clone came back".into())),
        Err(errno) => {
            return Err(errno).doing(|| {
                "making a user namespace for an id-mapped mount (mounts[].uidMappings)".into()
            });
        }
    };
    let opened = spawn::write_map(born.pid, "uid_map", uids, "uidMappings")
        .and_then(|()| spawn::write_map(born.pid, "gid_map", gids, "gidMappings"))
        .and_then(|()| {
            File::open(format!("/proc/{}/ns/user", born.pid))
                .doing(|| "opening the user namespace of an id-mapped mount".into())
        });
    spawn::end(&born.pidfd);
    opened.map(OwnedFd::from)
}

/// Ends with the parent, whatever becomes of it: then nobody has the other end any more.
fn wait_in_child(held: &OwnedFd, end: &OwnedFd) -> ! {
    sys::close(end.as_raw_fd());
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(held, &mut [0; 1]));
    sys::exit(0)
}
