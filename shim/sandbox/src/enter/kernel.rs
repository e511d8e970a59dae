//! Names and settings of the kernel that a container has for itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use wherry_core::plan;

use super::root::Root;
use super::{Host, namespace};
use crate::error::Doing;
use crate::resolve::open_in_root;
use crate::{Error, Result};

/// Refuses what would change the node (runc `configs/validate` `hostname`, `sysctl`).
pub(super) fn check(sandbox: &plan::Sandbox) -> Result<()> {
    let has = |kind| namespace(sandbox, kind).is_some();
    for (field, set) in [("hostname", &sandbox.hostname), ("domainname", &sandbox.domainname)] {
        if set.is_some() && !has(Kind::Uts) {
            return Err(Error::Refused(format!(
                "{field} needs a uts namespace in linux.namespaces: without one it would be the \
                 node's"
            )));
        }
    }
    for key in sandbox.sysctl.keys() {
        let dotted = key.replace('/', ".");
        let needs = match dotted.as_str() {
            "kernel.msgmax"
            | "kernel.msgmnb"
            | "kernel.msgmni"
            | "kernel.sem"
            | "kernel.shmall"
            | "kernel.shmmax"
            | "kernel.shmmni"
            | "kernel.shm_rmid_forced" => Some(("ipc", Kind::Ipc)),
            "kernel.domainname" | "kernel.hostname" => Some(("uts", Kind::Uts)),
            key if key.starts_with("fs.mqueue.") => Some(("ipc", Kind::Ipc)),
            key if key.starts_with("net.") => Some(("network", Kind::Network)),
            key if key.starts_with("user.") => Some(("user", Kind::User)),
            _ => None,
        };
        match needs {
            Some((_, kind)) if has(kind) => {}
            Some((name, _)) => {
                return Err(Error::Refused(format!(
                    "linux.sysctl {key} needs a {name} namespace in linux.namespaces: without one \
                     it would be the node's"
                )));
            }
            None => {
                return Err(Error::Refused(format!(
                    "linux.sysctl {key} belongs to no namespace: set it on the node"
                )));
            }
        }
    }
    Ok(())
}

pub(super) fn set_names(sandbox: &plan::Sandbox) -> Result<()> {
    if let Some(name) = &sandbox.hostname {
        rustix::system::sethostname(name.as_bytes())
            .doing(|| format!("setting hostname {name}"))?;
    }
    if let Some(name) = &sandbox.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .doing(|| format!("setting domainname {name}"))?;
    }
    Ok(())
}

/// `/proc/sys` shows the namespaces of whoever opens it, so either procfs does: the container's is
/// writable also where the node's is not (a node that is a container itself), and is not yet
/// read-only; without one there is a new one for it, or the host's.
pub(super) fn set_sysctls(sandbox: &plan::Sandbox, host: &Host, root: Option<&Root>) -> Result<()> {
    if sandbox.sysctl.is_empty() {
        return Ok(());
    }
    let own = root.and_then(|root| own_settings(root).ok()).or_else(|| new_settings().ok());
    write_all(own.as_ref().unwrap_or(&host.proc_sys), &sandbox.sysctl)
}

/// In the namespaces of this thread.
pub(crate) fn write_sysctls(sysctl: &BTreeMap<String, String>) -> Result<()> {
    let settings = match new_settings() {
        Ok(settings) => settings,
        // In a user namespace that may mount no procfs.
        Err(_) => rustix::fs::open("/proc/sys", FOLDER, Mode::empty())
            .doing(|| "opening /proc/sys".into())?,
    };
    write_all(&settings, sysctl)
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// `/proc/sys` of a procfs that is mounted nowhere: writable also where the node's is not.
fn new_settings() -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let mounted = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    rustix::fs::openat(&mounted, "sys", FOLDER, Mode::empty())
}

fn write_all(settings: &OwnedFd, sysctl: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in sysctl {
        let path: PathBuf = path_of(key).into();
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::Refused(format!("linux.sysctl {key} is no path below /proc/sys")));
        }
        let write = || -> std::io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let file = rustix::fs::openat2(settings, path, flags, Mode::empty(), stay)?;
            std::fs::File::from(file).write_all(value.as_bytes())
        };
        write().doing(|| format!("setting linux.sysctl {key} = {value}"))?;
    }
    Ok(())
}

/// `/proc/sys` of the container, if it is one: an image could have a folder there.
fn own_settings(root: &Root) -> rustix::io::Result<OwnedFd> {
    let folder = open_in_root(&root.folder, Path::new("/proc/sys"), OFlags::PATH)?;
    match rustix::fs::fstatfs(&folder)?.f_type as u64 {
        super::procfs::MAGIC => Ok(folder),
        _ => Err(rustix::io::Errno::NOENT),
    }
}

/// sysctl(8): whichever of `.` and `/` comes first separates, and the other is part of a name, so
/// that `net/ipv4/conf/eth0.1/forwarding` can be said.
fn path_of(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => key.to_owned(),
        _ => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn the_first_separator_separates() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
    }
}
