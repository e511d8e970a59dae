//! Our own filters, the same for every guest, each entry with its reason.
//!
//! The first is installed before the guest touches a byte of its module: a list of what an engine
//! with compiled code, tokio, WASI files, sockets and HTTP asks of the kernel, found by tracing it
//! and by reading `cap-std`, `rustix`, `tokio`, `hyper` and musl. All else is EPERM. The second
//! comes when the code is loaded and takes executable memory away.

use super::{Action, Policy, Rule, Test};

/// Calls that are allowed, and why.
struct Entry {
    calls: &'static [i64],
    reason: &'static str,
}

use libc::*;

const MEMORY: Entry = Entry {
    calls: &[
        SYS_brk,
        SYS_mmap,
        SYS_munmap,
        SYS_mremap,
        SYS_mprotect,
        SYS_madvise,
        SYS_process_madvise,
        SYS_membarrier,
        SYS_memfd_create,
        SYS_msync,
        SYS_mincore,
    ],
    reason: "memory of the allocator and of instances; code is mapped and made executable until \
             the second filter",
};

const THREADS: Entry = Entry {
    calls: &[
        SYS_exit,
        SYS_exit_group,
        SYS_futex,
        SYS_set_robust_list,
        SYS_get_robust_list,
        SYS_rseq,
        SYS_set_tid_address,
        SYS_gettid,
        SYS_getpid,
        SYS_getppid,
        SYS_tkill,
        SYS_sched_yield,
        SYS_sched_getaffinity,
        SYS_sched_setaffinity,
        SYS_getcpu,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_rt_sigtimedwait,
        SYS_sigaltstack,
        SYS_restart_syscall,
        SYS_wait4,
        SYS_waitid,
    ],
    reason: "threads, their ends and signals: traps arrive as SIGSEGV, SIGILL and SIGFPE, and an \
             abort is tkill; children are only the one that ran startContainer hooks",
};

const TIME: Entry = Entry {
    calls: &[
        SYS_clock_gettime,
        SYS_clock_getres,
        SYS_clock_nanosleep,
        SYS_nanosleep,
        SYS_gettimeofday,
        SYS_timerfd_create,
        SYS_timerfd_settime,
        SYS_timerfd_gettime,
    ],
    reason: "wasi:clocks, and tokio's timers",
};

const EVENTS: Entry = Entry {
    calls: &[
        SYS_epoll_create1,
        SYS_epoll_ctl,
        SYS_epoll_pwait,
        SYS_epoll_pwait2,
        SYS_eventfd2,
        SYS_ppoll,
        SYS_pselect6,
        SYS_pipe2,
    ],
    reason: "tokio's reactor and wasi:io/poll",
};

const STREAMS: Entry = Entry {
    calls: &[
        SYS_read,
        SYS_write,
        SYS_readv,
        SYS_writev,
        SYS_pread64,
        SYS_pwrite64,
        SYS_preadv,
        SYS_pwritev,
        SYS_preadv2,
        SYS_pwritev2,
        SYS_lseek,
        SYS_close,
        SYS_close_range,
        SYS_dup,
        SYS_dup3,
        SYS_fcntl,
        SYS_sendfile,
        SYS_splice,
        SYS_copy_file_range,
    ],
    reason: "descriptors that are open",
};

const FILES: Entry = Entry {
    calls: &[
        SYS_openat,
        SYS_openat2,
        SYS_fstat,
        SYS_newfstatat,
        SYS_statx,
        SYS_statfs,
        SYS_fstatfs,
        SYS_getdents64,
        SYS_getcwd,
        SYS_mkdirat,
        SYS_unlinkat,
        SYS_renameat2,
        SYS_linkat,
        SYS_symlinkat,
        SYS_readlinkat,
        SYS_faccessat,
        SYS_faccessat2,
        SYS_utimensat,
        SYS_fchmod,
        SYS_fchmodat,
        SYS_truncate,
        SYS_ftruncate,
        SYS_fallocate,
        SYS_fadvise64,
        SYS_readahead,
        SYS_fsync,
        SYS_fdatasync,
        SYS_sync_file_range,
        SYS_flock,
    ],
    reason: "wasi:filesystem in the container's root; /etc/resolv.conf, hosts and CA bundles",
};

const NETWORK: Entry = Entry {
    calls: &[
        SYS_bind,
        SYS_listen,
        SYS_accept,
        SYS_accept4,
        SYS_connect,
        SYS_getsockname,
        SYS_getpeername,
        SYS_getsockopt,
        SYS_setsockopt,
        SYS_sendto,
        SYS_recvfrom,
        SYS_sendmsg,
        SYS_recvmsg,
        SYS_sendmmsg,
        SYS_recvmmsg,
        SYS_shutdown,
        SYS_socketpair,
    ],
    reason: "wasi:sockets and wasi:http on sockets that could be made; tokio wakes itself by a pair",
};

const FACTS: Entry = Entry {
    calls: &[
        SYS_getuid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getegid,
        SYS_getgroups,
        SYS_getrandom,
        SYS_uname,
        SYS_sysinfo,
        SYS_getrusage,
        SYS_times,
    ],
    reason: "who and where we are, and randomness",
};

const TIGHTEN: Entry = Entry {
    calls: &[SYS_seccomp],
    reason: "the second filter and the spec's: a process can only take from itself by it",
};

/// What x86-64 has from before there were `…at` calls, and musl still uses there.
#[cfg(target_arch = "x86_64")]
const LEGACY: Entry = Entry {
    calls: &[
        SYS_open,
        SYS_stat,
        SYS_lstat,
        SYS_access,
        SYS_readlink,
        SYS_mkdir,
        SYS_rmdir,
        SYS_unlink,
        SYS_rename,
        SYS_renameat,
        SYS_link,
        SYS_symlink,
        SYS_chmod,
        SYS_poll,
        SYS_select,
        SYS_pipe,
        SYS_dup2,
        SYS_epoll_create,
        SYS_epoll_wait,
        SYS_eventfd,
        SYS_time,
        SYS_getdents,
        SYS_getrlimit,
    ],
    reason: "older spellings of the above",
};
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: Entry = Entry { calls: &[SYS_renameat], reason: "older spellings of the above" };

const ALLOWED: [Entry; 10] =
    [MEMORY, THREADS, TIME, EVENTS, STREAMS, FILES, NETWORK, FACTS, TIGHTEN, LEGACY];

/// Terminal or not, size of a terminal, how much is there, non-blocking, close-on-exec, and which
/// pages of a pool are dirty (`PAGEMAP_SCAN`).
const IOCTLS: [u64; 8] = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451, 0xc060_6610, 0x802c_542a];

/// Names of threads and of memory; and, until sealed, what sealing asks.
const PRCTLS: [i32; 6] =
    [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_SET_MDWE, PR_SET_NO_NEW_PRIVS, PR_GET_DUMPABLE];
const PR_SET_MDWE: i32 = 65;

const NAMESPACES: i32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// The filter of a guest from before its code is read until its end.
pub(crate) fn guest(pid: u32) -> Policy {
    let mut rules: Vec<Rule> = allow(&ALLOWED);
    // Internet and local addresses; no netlink, no packets.
    for family in [AF_UNIX, AF_INET, AF_INET6] {
        rules.push(Rule::new(SYS_socket, Action::Allow).when(0, Test::Equal, family as u64));
    }
    for request in IOCTLS {
        // The kernel's request has 32 bits, and some libraries fill the others with its sign.
        let low = Test::MaskedEqual(0xffff_ffff);
        rules.push(Rule::new(SYS_ioctl, Action::Allow).when(1, low, request));
    }
    for option in PRCTLS {
        rules.push(Rule::new(SYS_prctl, Action::Allow).when(0, Test::Equal, option as u64));
    }
    // Threads ask their own limits; nobody's are set.
    rules.push(Rule::new(SYS_prlimit64, Action::Allow).when(2, Test::Equal, 0));
    // Signals to threads of this process only.
    rules.push(Rule::new(SYS_tgkill, Action::Allow).when(0, Test::Equal, pid.into()));
    rules.extend(threads_only());
    Policy { rules, otherwise: Action::Errno(EPERM as u16), unknown_is_enosys: true }
}

/// The filter that comes on top when the code is loaded.
pub(crate) fn sealed() -> Policy {
    let executable = Test::MaskedEqual(PROT_EXEC as u64);
    let deny =
        |call| Rule::new(call, Action::Errno(EACCES as u16)).when(2, executable, PROT_EXEC as u64);
    Policy {
        rules: vec![deny(SYS_mmap), deny(SYS_mprotect), deny(SYS_pkey_mprotect)],
        otherwise: Action::Allow,
        unknown_is_enosys: false,
    }
}

/// The filter of the compiler: memory, threads, and the three streams it has.
pub(crate) fn compiler() -> Policy {
    const STREAMS: Entry = Entry {
        calls: &[
            SYS_read,
            SYS_write,
            SYS_readv,
            SYS_writev,
            SYS_pread64,
            SYS_pwrite64,
            SYS_lseek,
            SYS_close,
            SYS_fstat,
            SYS_ftruncate,
            SYS_fcntl,
        ],
        reason: "the module comes from one stream, code and report go to the others",
    };
    const CLOCKS: Entry =
        Entry { calls: &[SYS_clock_gettime, SYS_gettimeofday], reason: "how long it took" };
    let mut rules = allow(&[MEMORY, THREADS, STREAMS, CLOCKS, FACTS]);
    rules.push(Rule::new(SYS_prlimit64, Action::Allow).when(2, Test::Equal, 0));
    for option in [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA] {
        rules.push(Rule::new(SYS_prctl, Action::Allow).when(0, Test::Equal, option as u64));
    }
    rules.extend(threads_only());
    Policy { rules, otherwise: Action::Errno(EPERM as u16), unknown_is_enosys: true }
}

fn allow(entries: &[Entry]) -> Vec<Rule> {
    let calls = entries.iter().flat_map(|entry| {
        debug_assert!(!entry.reason.is_empty());
        entry.calls
    });
    calls.map(|call| Rule::new(*call, Action::Allow)).collect()
}

/// `clone` for a thread and nothing else. `clone3` hides its flags in memory where a filter cannot
/// look; C libraries use `clone` when it does not exist.
fn threads_only() -> [Rule; 2] {
    let mask = Test::MaskedEqual((CLONE_THREAD | NAMESPACES) as u32 as u64);
    [
        Rule::new(SYS_clone, Action::Allow).when(0, mask, CLONE_THREAD as u64),
        Rule::new(SYS_clone3, Action::Errno(ENOSYS as u16)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::bpf::{Program, tests::ask};
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn every_entry_has_a_reason_and_no_call_two_answers() {
        let mut all: Vec<i64> = ALLOWED.iter().flat_map(|e| e.calls).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(ALLOWED.iter().all(|e| e.reason.len() > 10));
    }

    #[test]
    fn a_guest_makes_threads_and_nothing_else() {
        let program = Program::compile(&guest(42));
        let ask =
            |call: i64, args: [u64; 2]| ask(&program, call as u32, [args[0], args[1], 0, 0, 0, 0]);
        assert_eq!(ask(SYS_clone, [0x007d_0f00, 0]), ALLOW);
        assert_ne!(ask(SYS_clone, [SIGCHLD as u64, 0]), ALLOW);
        assert_ne!(ask(SYS_clone, [(CLONE_THREAD | CLONE_NEWUSER) as u64, 0]), ALLOW);
        for call in
            [SYS_execve, SYS_execveat, SYS_ptrace, SYS_mount, SYS_unshare, SYS_bpf, SYS_kill]
        {
            assert_eq!(ask(call, [0, 0]), 0x0005_0000 | EPERM as u32);
        }
        assert_eq!(ask(SYS_tgkill, [42, 43]), ALLOW);
        assert_ne!(ask(SYS_tgkill, [1, 1]), ALLOW);
        assert_eq!(ask(SYS_socket, [AF_INET as u64, 1]), ALLOW);
        assert_ne!(ask(SYS_socket, [AF_NETLINK as u64, 1]), ALLOW);
        assert_eq!(ask(SYS_ioctl, [0, 0xffff_ffff_c060_6610]), ALLOW);
        assert_ne!(ask(SYS_ioctl, [0, 0x5412]), ALLOW);
    }
}
