//! Landlock (landlock(7)): a process gives up rights that its user has.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{check, errno};

const EXECUTE: u64 = 1 << 0;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// Moving and linking between folders: denied by every ruleset that does not speak of it.
const REFER: u64 = 1 << 13;
/// All rights over files of the first version.
const ALL_FILES: u64 = (1 << 13) - 1;
const ALL_NETWORK: u64 = 0b11;
const SCOPE_ABSTRACT_SOCKETS: u64 = 1 << 0;
const SCOPE_SIGNALS: u64 = 1 << 1;

#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    folder: i32,
}

/// No programs, no device nodes; no signals and no abstract sockets to whoever is outside, where
/// the kernel knows how. Everything else stays as it is.
///
/// A kernel without Landlock, or with its first version (which would forbid moving files between
/// folders), is left as it is: this is a second wall.
pub(crate) fn confine_guest() -> rustix::io::Result<()> {
    let version = version();
    if version < 2 {
        return Ok(());
    }
    let rules = Ruleset {
        files: EXECUTE | MAKE_CHAR | MAKE_BLOCK | REFER,
        network: 0,
        scoped: SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS,
    };
    let ruleset = create(&rules, version)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let rule = PathBeneath { allowed: REFER, folder: root.as_raw_fd() };
    // SAFETY: LANDLOCK_RULE_PATH_BENEATH with its structure, which lives across the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            1,
            std::ptr::from_ref(&rule),
            0,
        )
    })?;
    restrict(&ruleset)
}

/// No files at all, no TCP, nobody outside.
pub(crate) fn confine_compiler() -> rustix::io::Result<()> {
    let version = version();
    if version < 1 {
        return Ok(());
    }
    let files = if version < 2 { ALL_FILES } else { ALL_FILES | REFER };
    let scoped = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS;
    restrict(&create(&Ruleset { files, network: ALL_NETWORK, scoped }, version)?)
}

/// 0 or less without Landlock.
pub(crate) fn version() -> i64 {
    // SAFETY: LANDLOCK_CREATE_RULESET_VERSION takes no structure.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0, 1) }
}

fn create(rules: &Ruleset, version: i64) -> rustix::io::Result<OwnedFd> {
    // The structure grew: files, network with version 4, scopes with version 6.
    let size = match version {
        ..4 => 8,
        4 | 5 => 16,
        _ => 24_usize,
    };
    // SAFETY: the structure lives and is at least as long as the size given.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(rules), size, 0)
    };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn restrict(ruleset: &OwnedFd) -> rustix::io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
}
