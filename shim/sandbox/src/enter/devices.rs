//! Device nodes and the links that every `/dev` has (runtime spec, "Default Devices" and
//! "Default Symlinks").

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use wherry_core::plan::{self, MountWhat};

use super::mount::attach;
use super::root::Root;
use crate::Result;
use crate::error::Doing;
use crate::resolve::{Missing, open_in_root, open_or_make};

pub(super) fn make(sandbox: &plan::Sandbox, root: &Root, terminal: bool) -> Result<()> {
    // A `/dev` of the host's, bound, is complete and not ours to fill (runc `needsSetupDev`).
    let bound = sandbox
        .mounts
        .iter()
        .any(|m| m.destination == Path::new("/dev") && matches!(m.what, MountWhat::Bind { .. }));
    if bound {
        return Ok(());
    }
    let dev = open_or_make(&root.folder, Path::new("/dev"), Missing::Folder)?;
    for device in &sandbox.devices {
        node(device, sandbox, root, &dev)?;
    }
    links(&dev, root)?;
    if terminal {
        console(root)?;
    }
    Ok(())
}

fn node(device: &LinuxDevice, sandbox: &plan::Sandbox, root: &Root, dev: &OwnedFd) -> Result<()> {
    let path = device.path();
    let doing = || format!("making the device {} (linux.devices)", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL).doing(doing);
    };
    let elsewhere;
    let folder = if parent == Path::new("/dev") {
        dev
    } else {
        elsewhere = open_or_make(&root.folder, parent, Missing::Folder)?;
        &elsewhere
    };
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => FileType::CharacterDevice,
    };
    if super::in_user_namespace(sandbox) {
        // mknod is for the host's root alone (user_namespaces(7)).
        return bind(path, root).doing(doing);
    }
    let mode = Mode::from(device.file_mode().unwrap_or(0o666) & 0o7777);
    let number = rustix::fs::makedev(device.major() as u32, device.minor() as u32);
    match rustix::fs::mknodat(folder, name, kind, mode, number) {
        Ok(()) => {}
        // The image has it already.
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::PERM) => return bind(path, root).doing(doing),
        Err(errno) => return Err(errno).doing(doing),
    }
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    if (uid, gid) != (0, 0) {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).doing(doing)?;
    }
    Ok(())
}

/// The host's node of the same path.
fn bind(path: &Path, root: &Root) -> std::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    let target = open_or_make(&root.folder, path, Missing::File).map_err(std::io::Error::other)?;
    Ok(attach(&tree, &target)?)
}

fn links(dev: &OwnedFd, root: &Root) -> Result<()> {
    let mut links = vec![
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ];
    if open_in_root(&root.folder, Path::new("/proc/kcore"), OFlags::PATH).is_ok() {
        links.push(("/proc/kcore", "core"));
    }
    for (target, name) in links {
        if name == "ptmx" {
            // An image's or a default ptmx would be the host's (runc `setupPtmx`).
            let _ = rustix::fs::unlinkat(dev, name, AtFlags::empty());
        }
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("making the link /dev/{name}")),
        }
    }
    Ok(())
}

/// The pty as `/dev/console` (runtime spec, "Default Devices").
fn console(root: &Root) -> Result<()> {
    let doing = || "binding the terminal on /dev/console (process.terminal)".to_owned();
    // The descriptor is of the host's mount namespace, from which nothing can be bound here; the
    // same pty has a name in ours. 136 is the first major number of ptys, 256 to each.
    let stdin = rustix::fs::fstat(rustix::stdio::stdin()).doing(doing)?.st_rdev;
    let number = rustix::fs::minor(stdin) + 256 * rustix::fs::major(stdin).saturating_sub(136);
    let pty = format!("/dev/pts/{number}");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &pty, flags).doing(doing)?;
    if rustix::fs::fstat(&tree).doing(doing)?.st_rdev != stdin {
        return Err(Errno::NOTTY).doing(doing);
    }
    let target = open_or_make(&root.folder, Path::new("/dev/console"), Missing::File)?;
    attach(&tree, &target).doing(doing)
}
