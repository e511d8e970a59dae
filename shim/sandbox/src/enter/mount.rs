//! One mount of the spec.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount};
use wherry_core::plan::{self, Mount, MountWhat, Recursive};

use super::root::Root;
use super::{attributes, cgroups};
use crate::error::Doing;
use crate::resolve::{Missing, open_in_root, open_or_make};
use crate::sys::MountAttr;
use crate::{Error, Result};

/// Mounts it, with everything but what [`close`] does.
pub(super) fn perform(
    mount: &Mount,
    sandbox: &plan::Sandbox,
    root: &Root,
    sources: &mut impl Iterator<Item = OwnedFd>,
) -> Result<()> {
    match &mount.what {
        MountWhat::Bind { source, recursive } => {
            let tree = match sources.next() {
                Some(tree) => tree,
                None => open_source(source, *recursive)?,
            };
            bind(mount, &tree, root)
        }
        MountWhat::Filesystem { kind, source } => filesystem(mount, kind, source, sandbox, root),
        MountWhat::Cgroup => cgroups::mount(mount, sandbox, root),
    }
}

/// Mounts that have to be written to while the container is made become read-only at its end
/// (runc `finalizeRootfs`).
pub(super) fn close(mount: &Mount, root: &Root) -> Result<()> {
    if !closes_late(mount) {
        return Ok(());
    }
    let opened = open_in_root(&root.folder, &mount.destination, OFlags::PATH);
    let readonly = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    opened
        .and_then(|fd| attributes::change(&fd, readonly, false))
        .doing(|| format!("making mounts {} read-only", mount.destination.display()))
}

fn closes_late(mount: &Mount) -> bool {
    let written = match &mount.what {
        MountWhat::Filesystem { kind, .. } => {
            kind == "tmpfs" || mount.destination == Path::new("/dev")
        }
        MountWhat::Cgroup | MountWhat::Bind { .. } => false,
    };
    written && mount.flags.set & libc::MS_RDONLY != 0
}

pub(super) fn open_source(source: &Path, recursive: Recursive) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive == Recursive::Yes {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, source, flags)
        .doing(|| format!("opening the source {} of mounts", source.display()))
}

/// The tree is changed while nobody sees it, then attached.
fn bind(mount: &Mount, tree: &OwnedFd, root: &Root) -> Result<()> {
    let to = mount.destination.display();
    let stat = rustix::fs::fstat(tree).doing(|| format!("looking at the source of mounts {to}"))?;
    let missing = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Missing::Folder,
        _ => Missing::File,
    };
    attributes::change_all(tree, mount.flags, mount.recursive, mount.propagation).map_err(|e| {
        let doing = format!("setting the options of mounts {to}{}", attributes::hint(e));
        Error::System { doing, source: e.into() }
    })?;
    let destination = open_or_make(&root.folder, &mount.destination, missing)?;
    keep_procfs(mount, &destination, Some(tree))?;
    attach(tree, &destination).map_err(|errno| {
        let is_folder = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
        let there = rustix::fs::fstat(&destination).map(|there| is_folder(there.st_mode));
        let hint = match (is_folder(stat.st_mode), there) {
            (true, Ok(false)) => " (a folder cannot be mounted on a file)",
            (false, Ok(true)) => " (a file cannot be mounted on a folder)",
            _ => "",
        };
        Error::System { doing: format!("binding mounts {to}{hint}"), source: errno.into() }
    })
}

/// What programs replace in procfs to show a container's own numbers (lxcfs), as runc's
/// `checkProcMount` lists it.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/net/dev",
];

/// Nothing is mounted into a procfs, to which an image could lead by a link, except for a few
/// files; and over all of it only another procfs.
fn keep_procfs(mount: &Mount, destination: &OwnedFd, tree: Option<&OwnedFd>) -> Result<()> {
    let path = &mount.destination;
    let is_procfs =
        |fd: &OwnedFd| rustix::fs::fstatfs(fd).map(|s| s.f_type as u64 == super::procfs::MAGIC);
    let doing = || format!("looking at the destination of mounts {}", path.display());
    let inside = is_procfs(destination).doing(doing)?;
    let over = path == Path::new("/proc");
    if !inside && !over || REPLACEABLE.iter().any(|p| path == Path::new(p)) {
        return Ok(());
    }
    if over && tree.map_or(Ok(false), is_procfs).doing(doing)? {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "mounts {}: nothing but a procfs is mounted on /proc, and inside of it only {}",
        path.display(),
        REPLACEABLE.join(", ")
    )))
}

pub(super) fn attach(tree: impl AsFd, destination: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", destination, "", flags)
}

fn filesystem(
    mount: &Mount,
    kind: &str,
    source: &str,
    sandbox: &plan::Sandbox,
    root: &Root,
) -> Result<()> {
    let to = mount.destination.display();
    let destination = open_or_make(&root.folder, &mount.destination, Missing::Folder)?;
    if kind != "proc" {
        keep_procfs(mount, &destination, None)?;
    }
    let mut flags = mount.flags.set;
    if closes_late(mount) || mount.copy_up {
        flags &= !libc::MS_RDONLY;
    }
    let data = with_label(mount, kind, sandbox);
    mount_on(&destination, kind, source, flags, &data).map_err(|errno| {
        let hint = match errno {
            Errno::NODEV => " (this kernel does not know the file system)",
            _ => "",
        };
        let doing = format!("mounting {kind} on mounts {to} with options \"{data}\"{hint}");
        Error::System { doing, source: errno.into() }
    })?;
    let path = &mount.destination;
    let named = |what: &'static str| move || format!("{what} of mounts {}", path.display());
    if mount.copy_up {
        let mounted = open_in_root(&root.folder, &mount.destination, OFlags::PATH)
            .doing(named("opening the tmpfs"))?;
        copy_up(&destination, &mounted)
            .doing(named("copying up what the image has (tmpcopyup)"))?;
    }
    if mount.recursive != plan::MountFlags::default() || mount.propagation.is_some() {
        let mounted = open_in_root(&root.folder, &mount.destination, OFlags::PATH)
            .doing(named("opening it"))?;
        let none = plan::MountFlags::default();
        attributes::change_all(&mounted, none, mount.recursive, mount.propagation)
            .doing(named("setting the propagation"))?;
    }
    Ok(())
}

/// `mount(2)` on a descriptor, by its name in procfs: the host's is still there.
pub(super) fn mount_on(
    destination: &OwnedFd,
    kind: &str,
    source: &str,
    flags: u64,
    data: &str,
) -> rustix::io::Result<()> {
    let target = format!("/proc/self/fd/{}", destination.as_raw_fd());
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let data = (!data.is_empty()).then_some(data.as_c_str());
    rustix::mount::mount(source, target, kind, attributes::ms(flags), data)
}

/// SELinux's label goes with the options, save where the kernel labels by itself (runc
/// `mountPropagate`, selinux `FormatMountLabel`).
fn with_label(mount: &Mount, kind: &str, sandbox: &plan::Sandbox) -> String {
    match &sandbox.selinux_mount_label {
        Some(label) if !matches!(kind, "proc" | "sysfs" | "mqueue") => {
            let comma = if mount.data.is_empty() { "" } else { "," };
            format!("{}{comma}context=\"{label}\"", mount.data)
        }
        _ => mount.data.clone(),
    }
}

/// Copies what lies under a new tmpfs into it: names, contents, owners, modes, links.
fn copy_up(from: &OwnedFd, to: &OwnedFd) -> std::io::Result<()> {
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    copy_folder(Path::new(&path(from)), Path::new(&path(to)))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
    let meta = std::fs::metadata(from)?;
    lchown_through(to, &meta)?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        if meta.is_dir() {
            std::fs::create_dir(&target)?;
            copy_folder(&source, &target)?;
        } else if meta.is_symlink() {
            symlink(std::fs::read_link(&source)?, &target)?;
            lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        } else if meta.is_file() {
            std::fs::copy(&source, &target)?;
            lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
            std::fs::set_permissions(
                &target,
                std::fs::Permissions::from_mode(meta.mode() & 0o7777),
            )?;
        }
        // Devices, sockets and pipes are not copied, as in runc (`fileutils.CopyDirectory`).
    }
    Ok(())
}

/// The first folder is named by a link of procfs, which is to be followed.
fn lchown_through(path: &Path, meta: &std::fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    chown(path, Some(meta.uid()), Some(meta.gid()))
}
