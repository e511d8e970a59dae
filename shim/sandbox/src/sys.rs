//! System calls that no crate here wraps, each as a safe function where that is possible.

pub(crate) mod bpf;
pub(crate) mod landlock;
pub(crate) mod seccomp;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// A process just made, as its parent sees it.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// Which side of a `clone3` we are on.
#[derive(Debug)]
pub(crate) enum Side {
    Child,
    Parent(Born),
}

/// `struct clone_args` as far as `CLONE_INTO_CGROUP`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `clone3(2)` as a fork: a copy of this process and nothing shared, its handlers cleared.
///
/// # Safety
///
/// In the child only the calling thread goes on, and locks held by others stay locked for ever:
/// it may do nothing but what `signal-safety(7)` allows until it executes a program or exits.
pub(crate) unsafe fn fork(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    exit_signal: i32,
) -> rustix::io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: &raw mut pidfd as u64,
        exit_signal: exit_signal as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure lives across the call and its size is given; without CLONE_VM the
    // child has its own copy of the stack. The caller keeps the promise about the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Side::Child),
        pid if pid > 0 => {
            // SAFETY: the kernel has stored a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent(Born { pid: pid as u32, pidfd }))
        }
        _ => Err(errno()),
    }
}

/// Not in libc's x86-64 constants as a `u64`: they do not fit its `c_int`.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Executes the program that `program` holds, with these arguments and no environment. Returns
/// only on failure. Allowed after a fork.
pub(crate) fn exec(program: RawFd, argv: &Argv) -> Errno {
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer and live across the call, as do argv's words.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    errno()
}

/// The arguments of a program to be executed, as execve(2) takes them.
pub(crate) struct Argv {
    _words: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Argv {
    pub(crate) fn new(words: Vec<CString>) -> Argv {
        let ends = [std::ptr::null()];
        let pointers = words.iter().map(|word| word.as_ptr()).chain(ends).collect();
        Argv { _words: words, pointers }
    }
}

/// Ends this process without running anything else. Allowed after a fork.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing of ours is touched.
    unsafe { libc::_exit(code) }
}

/// Closes all descriptors from `first` on, whoever owned them. Allowed after a fork.
pub(crate) fn close_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: called only where no owner of such a descriptor goes on: before exec, and in the
    // jail before the program has opened anything.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Closes one descriptor of a fork, whose owner is in the parent. Allowed after a fork.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: called by a fork that never returns to whoever owns the descriptor.
    unsafe { libc::close(fd) };
}

/// Makes `to` another name of `from`, without close-on-exec. Allowed after a fork.
pub(crate) fn place(from: RawFd, to: RawFd) -> rustix::io::Result<()> {
    // SAFETY: numbers only; the caller owns `to` or nobody does.
    check(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) })
}

/// Blocks all signals for this thread, and returns those that were blocked before.
pub(crate) fn block_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0_u64);
    // SAFETY: both are kernel signal sets of 8 bytes, which is the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut before,
            8,
        )
    };
    before
}

/// Blocks exactly these signals. Allowed after a fork.
pub(crate) fn set_blocked_signals(set: u64) {
    // SAFETY: a kernel signal set of 8 bytes, which is the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut::<u64>(),
            8,
        )
    };
}

/// Gives ignored signals their default action: exec keeps ignored ones. Allowed after a fork.
pub(crate) fn default_signals() {
    // Not SIGABRT: musl takes a lock for it, which a thread that is no more may hold.
    for signal in (1..32).filter(|signal| *signal != libc::SIGABRT) {
        // SAFETY: SIG_DFL installs no code. SIGKILL and SIGSTOP are refused, which is no harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// What `mount_setattr(2)` changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns: u64,
}

/// `mount_setattr(2)` on the mount that `fd` names.
pub(crate) fn mount_setattr(
    fd: BorrowedFd<'_>,
    attr: MountAttr,
    recursive: bool,
) -> rustix::io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, and the structure and its size agree with the kernel's.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
}

/// `setns(2)` into a namespace of this kind. Allowed after a fork.
pub(crate) fn setns(fd: RawFd, kind: i32) -> rustix::io::Result<()> {
    // SAFETY: two numbers; changes what this thread sees, which is what is wanted.
    check(unsafe { libc::syscall(libc::SYS_setns, fd, kind) })
}

/// The user namespace that owns a namespace (`ioctl_nsfs(2)`, `NS_GET_USERNS`).
pub(crate) fn owner_of_namespace(fd: RawFd) -> rustix::io::Result<OwnedFd> {
    const NS_GET_USERNS: u64 = 0xb701;
    // SAFETY: numbers only; the kernel answers with a new descriptor.
    let owner = unsafe { libc::syscall(libc::SYS_ioctl, fd, NS_GET_USERNS) };
    match RawFd::try_from(owner) {
        // SAFETY: just made by the kernel, which gave it to nobody else.
        Ok(owner) if owner >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(owner) }),
        _ => Err(errno()),
    }
}

/// `unshare(2)`. Allowed after a fork.
pub(crate) fn unshare(kinds: i32) -> rustix::io::Result<()> {
    // SAFETY: callers ask for namespaces only, never to stop sharing memory or descriptors.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds) })
}

/// `prctl(2)` with numbers only.
pub(crate) fn prctl(option: i32, arg: u64) -> rustix::io::Result<()> {
    // SAFETY: used for options whose arguments are numbers: PR_SET_MDWE and the like.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg, 0_u64, 0_u64, 0_u64) })
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)`: a new and empty session keyring.
pub(crate) fn join_new_keyring() -> rustix::io::Result<()> {
    // SAFETY: a null name means an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>()) })
}

/// Becomes root of the user namespace, with no other groups. Allowed after a fork.
pub(crate) fn become_root() -> rustix::io::Result<()> {
    // SAFETY: numbers only. The system calls act on this thread, and there is no other.
    unsafe {
        check(libc::syscall(libc::SYS_setresgid, 0, 0, 0))?;
        // Not allowed where the namespace's maker denied it; then there is nothing to drop.
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        check(libc::syscall(libc::SYS_setresuid, 0, 0, 0))
    }
}

pub(crate) fn check(result: libc::c_long) -> rustix::io::Result<()> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// The errno of the last call made through libc.
pub(crate) fn errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
