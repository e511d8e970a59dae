//! The child's side of a birth: nothing here allocates, locks or returns after the fork.

use std::collections::BTreeMap;
use std::ffi::CString;

use super::*;

/// Where the program lies while it is executed: after the streams and the wire.
const PROGRAM_FD: RawFd = GUEST_FD + 1;

/// Everything the child needs, made before it is.
pub(super) struct Birth<'a> {
    /// `CLONE_NEW…` flags of the namespaces to make, without the cgroup namespace.
    pub(super) new_kinds: u64,
    /// The child waits for a byte from its parent: its ids are being mapped.
    pub(super) waits: bool,
    joins: Vec<Join>,
    /// A cgroup namespace is rooted where the process is, so it comes after the cgroup.
    new_cgroup: bool,
    /// The `tasks` files of the v1 groups.
    tasks: &'a [OwnedFd],
    program: OwnedFd,
    wire: OwnedFd,
    null: OwnedFd,
    argv: Argv,
}

/// A namespace to join.
pub(super) struct Join {
    kind: i32,
    fd: OwnedFd,
    /// What to say when it fails, ready to be put into JSON.
    what: String,
}

impl<'a> Birth<'a> {
    pub(super) fn prepare(
        program: &File,
        words: Vec<CString>,
        sandbox: &plan::Sandbox,
        entrance: &'a Entrance,
        guest_end: &Channel,
    ) -> Result<Birth<'a>> {
        let mut joins = Vec::new();
        let (mut new_kinds, mut new_cgroup) = (0, false);
        for namespace in &sandbox.namespaces {
            match &namespace.path {
                Some(path) => {
                    let join = Join::open(namespace.kind, path)?;
                    if namespace.kind == Kind::Network {
                        refuse_the_nodes_own(&join.fd, &sandbox.sysctl)?;
                    }
                    joins.push(join);
                }
                None if namespace.kind == Kind::Cgroup => new_cgroup = true,
                None => new_kinds |= namespace.kind as u64,
            }
        }
        Ok(Birth {
            new_kinds,
            waits: new_kinds & Kind::User as u64 != 0,
            joins,
            new_cgroup,
            tasks: entrance.tasks(),
            program: above(program)?,
            wire: above(guest_end)?,
            null: open_null()?,
            argv: Argv::new(words),
        })
    }

    /// A joined user or pid namespace holds only for children, and a namespace from outside of a
    /// new user namespace can only be joined before that is made.
    pub(super) fn needs_process_between(&self, sandbox: &plan::Sandbox) -> bool {
        let joined = |kind: Kind| self.joins.iter().any(|j| j.kind == kind as i32);
        let new_user = sandbox.namespaces.iter().any(|n| n.kind == Kind::User && n.path.is_none());
        joined(Kind::User) || joined(Kind::Pid) || (new_user && !self.joins.is_empty())
    }

    /// The process in between: joins, clones its sibling, tells its pid, and is gone.
    pub(super) fn deliver(&self, tell: RawFd) -> ! {
        self.enter_cgroup();
        self.join_all();
        // SAFETY: `live` keeps the promise about the child as above.
        match unsafe { sys::fork(self.new_kinds | libc::CLONE_PARENT as u64, None, 0) } {
            Ok(Side::Child) => self.live(false),
            Ok(Side::Parent(born)) => {
                // SAFETY: a number; the pipe is open in this process until it exits.
                let tell = unsafe { BorrowedFd::borrow_raw(tell) };
                let told = rustix::io::write(tell, &born.pid.to_ne_bytes());
                sys::exit(i32::from(told != Ok(4)));
            }
            Err(errno) => self.fail("making the namespaces of linux.namespaces", errno),
        }
    }

    /// The guest to be: takes its places and executes the program.
    pub(super) fn live(&self, directly: bool) -> ! {
        if directly {
            self.enter_cgroup();
        }
        if self.waits {
            let mut byte = [0];
            if rustix::io::read(&self.wire, &mut byte) != Ok(1) {
                sys::exit(1);
            }
            if let Err(errno) = sys::become_root() {
                self.fail(
                    "becoming root of the new user namespace (linux.uidMappings and gidMappings \
                     must map id 0)",
                    errno,
                );
            }
        }
        if directly {
            self.join_all();
        }
        if self.new_cgroup
            && let Err(errno) = sys::unshare(Kind::Cgroup as i32)
        {
            self.fail("making a cgroup namespace (linux.namespaces)", errno);
        }
        // A session of its own, as runc's init has: signals from a terminal of the shim's, if it
        // ever had one, are not for the guest.
        let _ = rustix::process::setsid();
        sys::default_signals();
        sys::set_blocked_signals(0);
        // Where the node gives huge pages to everybody, each stack, heap and instance of a pool took 2 MB at its
        // first byte: a service within 64 MB was killed at a load that is refused or queued with small ones, since
        // its budget counts what is used. exec keeps it. A kernel that has none refuses.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        let places = [
            (&self.null, 0),
            (&self.null, 1),
            (&self.null, 2),
            (&self.wire, GUEST_FD),
            (&self.program, PROGRAM_FD),
        ];
        for (from, to) in places {
            if let Err(errno) = sys::place(from.as_raw_fd(), to) {
                self.fail("placing the guest's descriptors", errno);
            }
        }
        // Kernels before 5.9 have no close_range; there all are closed by exec, as Rust opens them.
        let _ = sys::close_from(PROGRAM_FD as u32 + 1);
        // SAFETY: placed just now, by this process.
        let program = unsafe { BorrowedFd::borrow_raw(PROGRAM_FD) };
        let _ = rustix::io::fcntl_setfd(program, rustix::io::FdFlags::CLOEXEC);
        let errno = sys::exec(PROGRAM_FD, &self.argv);
        self.fail("executing the guest program", errno)
    }

    /// A thread that moves itself by `tasks` needs no lock of the whole machine, unlike one that
    /// is moved by `cgroup.procs` (kernel/cgroup/cgroup.c `cgroup_procs_write_start`).
    fn enter_cgroup(&self) {
        for tasks in self.tasks {
            if let Err(errno) = rustix::io::write(tasks, b"0") {
                self.fail("entering the container's cgroup (linux.cgroupsPath)", errno);
            }
        }
    }

    /// As nsexec.c `join_namespaces`: what the host's root may join, then the user namespace,
    /// then what only its root may.
    fn join_all(&self) {
        let user = Kind::User as i32;
        let has_user = self.joins.iter().any(|j| j.kind == user);
        let mut left = 0_u64;
        for (at, join) in self.joins.iter().enumerate().filter(|(_, j)| j.kind != user) {
            match sys::setns(join.fd.as_raw_fd(), join.kind) {
                Ok(()) => {}
                Err(rustix::io::Errno::PERM) if has_user => left |= 1 << at,
                Err(errno) => self.fail(&join.what, errno),
            }
        }
        for join in self.joins.iter().filter(|j| j.kind == user) {
            if let Err(errno) = sys::setns(join.fd.as_raw_fd(), user) {
                self.fail(&join.what, errno);
            }
            if let Err(errno) = sys::become_root() {
                self.fail("becoming root of the joined user namespace (linux.namespaces)", errno);
            }
        }
        for (_, join) in self.joins.iter().enumerate().filter(|(at, _)| left >> at & 1 == 1) {
            if let Err(errno) = sys::setns(join.fd.as_raw_fd(), join.kind) {
                self.fail(&join.what, errno);
            }
        }
    }

    /// Tells the shim why there will be no guest, in the guest's words (`ToShim::Refused`).
    fn fail(&self, what: &str, errno: rustix::io::Errno) -> ! {
        let parts = [r#"{"Refused":{"message":""#, what, ": ", child_says(errno), r#""}}"#];
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let _ = rustix::io::write(&self.wire, &(length as u32).to_le_bytes());
        for part in parts {
            let _ = rustix::io::write(&self.wire, part.as_bytes());
        }
        sys::exit(1)
    }
}

impl Join {
    fn open(kind: Kind, path: &std::path::Path) -> Result<Join> {
        let what = format!("joining the {kind} namespace {} (linux.namespaces)", path.display());
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| what.clone())?;
        let what = what.chars().filter(|c| !matches!(c, '"' | '\\' | '\0'..='\x1f')).collect();
        Ok(Join { kind: kind as i32, fd, what })
    }
}

/// A path may lead to the node's own network, whose settings are not the container's to change (runc,
/// `libcontainer/configs/validate`, `sysctl`).
pub(crate) fn refuse_the_nodes_own(
    network: impl AsFd,
    sysctl: &BTreeMap<String, String>,
) -> Result<()> {
    let sets = |key: &String| key.starts_with("net.") || key.starts_with("net/");
    let Some(key) = sysctl.keys().find(|key| sets(key)) else { return Ok(()) };
    let doing = || "looking at the network namespace of linux.namespaces".to_owned();
    let (theirs, own) = (
        rustix::fs::fstat(network).doing(doing)?,
        rustix::fs::stat("/proc/self/ns/net").doing(doing)?,
    );
    if (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino) {
        return Err(Error::Refused(format!(
            "linux.sysctl {key} would change the node: the network namespace of linux.namespaces is its own"
        )));
    }
    Ok(())
}

/// The words of errno(3) for what can happen before exec: formatting would need memory.
fn child_says(errno: rustix::io::Errno) -> &'static str {
    use rustix::io::Errno;
    match errno {
        Errno::PERM => "Operation not permitted",
        Errno::ACCESS => "Permission denied",
        Errno::INVAL => "Invalid argument",
        Errno::NOENT => "No such file or directory",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::NOSPC => "No space left: a limit of the user namespace or cgroup",
        Errno::USERS => "Too many users: namespaces are nested too deeply",
        Errno::AGAIN => "Resource temporarily unavailable: a limit of processes",
        Errno::NODEV => "No such device: the cgroup is gone",
        Errno::BUSY => "Device or resource busy",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::NOEXEC => "Exec format error",
        Errno::NOSYS => "Function not implemented by this kernel",
        _ => "the kernel refused",
    }
}
