//! The compiler's jail: no files, no network, no processes, little memory and time.
//!
//! Hostile modules are read here first, by much code. What breaks out of the compiler finds a
//! process with three descriptors and nothing to open; each wall stands without the others, and
//! those that a kernel or a container around us does not allow are left out, except for the system
//! call filter, which is always there.

use rustix::fs::{CWD, Gid, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::error::Doing;
use crate::sys::seccomp::ALL_THREADS;
use crate::{Result, seccomp, sys};

/// What the compiler may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    pub cpu_seconds: u64,
    /// Bytes of compiled code.
    pub output: u64,
}

/// Locks this process up, with descriptors 0, 1 and 2 and nothing else, for good. Call it first
/// thing, with one thread; threads may follow.
pub fn enter(limits: &Limits) -> Result<()> {
    let filter = seccomp::Program::compile(&seccomp::own::compiler());
    let _ = sys::close_from(3);
    // Not allowed to everyone, and not needed with Landlock or the filter.
    let _ = leave_files();
    become_nobody();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "making the compiler undumpable".into())?;
    rustix::thread::set_no_new_privs(true).doing(|| "giving up new privileges".into())?;
    sys::landlock::confine_compiler().doing(|| "confining the compiler by Landlock".into())?;
    limit(limits)?;
    seccomp::install(&filter, ALL_THREADS, "the compiler's system call filter")
}

fn limit(limits: &Limits) -> Result<()> {
    let all = [
        (Resource::As, limits.memory),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Fsize, limits.output),
        (Resource::Core, 0),
        (Resource::Nofile, 3),
    ];
    for (resource, bytes) in all {
        let have = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        // At the hard limit of processor time the signal is SIGKILL, which says nothing; at the soft
        // one it is SIGXCPU (setrlimit(2)).
        let hard = if resource == Resource::Cpu { bytes.saturating_add(2) } else { bytes };
        let limit = Rlimit { current: Some(bytes.min(have)), maximum: Some(hard.min(have)) };
        setrlimit(resource, limit).doing(|| format!("limiting the compiler's {resource:?}"))?;
    }
    Ok(())
}

/// A mount namespace whose root is empty and read-only. No network namespace: to make one takes
/// longer than all else here, and the filter has no sockets.
fn leave_files() -> rustix::io::Result<()> {
    let kinds = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    // Whoever is not root becomes the root of a user namespace first.
    sys::unshare(kinds).or_else(|_| sys::unshare(kinds | libc::CLONE_NEWUSER))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "mode", "0555")?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let empty = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&empty, "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&empty)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// As much as is allowed; who was not root to begin with has nothing to lose.
fn become_nobody() {
    const NOBODY: u32 = 65_534;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let _ = set_thread_groups(&[]);
    let _ = set_thread_res_gid(gid, gid, gid);
    let _ = set_thread_res_uid(uid, uid, uid);
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    let _ = set_capabilities(None, sets);
}
