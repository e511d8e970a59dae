//! Our own process hidden from the guest.
//!
//! The engine and the guest's code share one process, and WASI opens files for the guest. If the
//! guest could open `/proc/self/mem`, it could write the engine's memory and be out of its
//! sandbox with two calls. So in every procfs of the container
//!
//! - the folder of this process, as numbered there, lies under another, which also covers what
//!   `/proc/self` and `/proc/thread-self` point to, and has of it only what says who the guest is
//!   ([`own_files`]): WASI has no getuid, and `id` would otherwise call every user root;
//! - nothing can be written at all: the kernel finds `/proc/<n>` for every *thread* too, whose
//!   numbers are not known yet, and `mem` there is the same memory.
//!
//! What remains is that a guest with user id 0 reads its own process through the number of a
//! thread. It learns nothing of other containers that way, and [`super::privileges`] makes the
//! process undumpable, which closes it for every other user.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::paths::Veil;
use super::root::Root;
use super::{Host, attributes};
use crate::error::Doing;
use crate::resolve::open_in_root;
use crate::sys::MountAttr;
use crate::wire::Setup;
use crate::{Result, mountinfo};

pub(super) const MAGIC: u64 = 0x9fa0;

/// To be called inside the new root, with the table of its mounts.
pub(super) fn hide(root: &Root, table: &str, veil: &mut Veil) -> Result<()> {
    for path in procfs_mounts(table) {
        let doing = || format!("hiding the guest's process from {}", path.display());
        let mounted = match open_in_root(&root.folder, &path, OFlags::PATH) {
            Ok(fd) => fd,
            // Under another mount: nobody gets there.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno).doing(doing),
        };
        let magic = rustix::fs::fstatfs(&mounted).doing(doing)?.f_type as u64;
        if magic == MAGIC {
            hide_in(&mounted, veil).doing(doing)?;
        }
    }
    Ok(())
}

/// What the guest reads in the folder of its own process: what proc(5) says of arguments and users, and of its
/// status only the lines that it may know.
pub(super) fn own_files(setup: &Setup, host: &Host) -> Result<Vec<(&'static str, String)>> {
    let user = &setup.sandbox.user;
    let four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    let groups: String = user.additional_gids.iter().map(|gid| format!("{gid} ")).collect();
    let (uid, gid) = (four(user.uid), four(user.gid));
    let status = format!(
        "Name:\twherry-guest\nState:\tR (running)\nUid:\t{uid}\nGid:\t{gid}\nGroups:\t{groups}\n"
    );
    let cmdline = setup.run.args.iter().map(|argument| format!("{argument}\0")).collect();
    let mut files = vec![("status", status), ("cmdline", cmdline)];
    for map in ["uid_map", "gid_map"] {
        files.push((map, read(host, map)?));
    }
    Ok(files)
}

fn hide_in(procfs: &OwnedFd, veil: &mut Veil) -> rustix::io::Result<()> {
    // Without a number there this process is not in it.
    if let Ok(own) = rustix::fs::readlinkat(procfs, "self", Vec::new()) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(procfs, own, flags, Mode::empty())?;
        veil.cover_own(&folder)?;
    }
    let readonly = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    attributes::change(procfs, readonly, false)
}

/// Where in the container a procfs with processes is mounted: whole, or a process of it.
fn procfs_mounts(table: &str) -> Vec<PathBuf> {
    let has_processes =
        |part: &str| part == "/" || part[1..].starts_with(|first: char| first.is_ascii_digit());
    let found = mountinfo::parse(table);
    let found = found.filter(|mount| mount.kind == "proc" && has_processes(mount.part));
    found.map(|mount| mount.point).collect()
}

pub(super) fn read(host: &Host, file: &str) -> Result<String> {
    let read = || -> rustix::io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&host.proc_self, file, flags, Mode::empty())?;
        // By the page: a growing buffer begins with reads of 32 bytes, and each formats a line anew.
        let mut text = Vec::with_capacity(64 << 10);
        while rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text))? > 0 {
            text.reserve(16 << 10);
        }
        Ok(text)
    };
    let text = read().doing(|| format!("reading /proc/self/{file}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_procfs_with_processes_is_found() {
        let table = "\
50 40 0:90 / /proc rw - proc proc rw
51 50 0:90 /sys /proc/sys ro - proc proc rw
52 40 0:4 / /host\\040proc rw shared:3 - proc proc rw
53 40 0:4 /12/fd /fds rw - proc proc rw
54 40 0:91 / /tmp rw - tmpfs tmpfs rw
";
        let found = procfs_mounts(table);
        let expected: Vec<PathBuf> = vec!["/proc".into(), "/host proc".into(), "/fds".into()];
        assert_eq!(found, expected);
    }
}
