//! The birth of a guest: a process in its namespaces and cgroup, with nothing but its wire.
//!
//! ```text
//! shim ──clone3(new namespaces, pidfd, into cgroup)──► child ──execveat──► guest
//!   └─ id maps, oom_score_adj, one byte ─────────────►  (waits only in a new user namespace)
//! ```
//!
//! Where a user or pid namespace is joined, or a namespace is joined from outside of a new user
//! namespace, a process in between joins them and clones the child as its own sibling
//! (`CLONE_PARENT`), as runc's `libcontainer/nsenter/nsexec.c` does: so the guest is the shim's
//! own child, its pid is the real one, and it is born inside.
//!
//! Between clone and exec only what `signal-safety(7)` allows is done: everything that needs
//! memory is made before. A failure there is told over the wire, as the guest itself would.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use wherry_core::plan;

use crate::cgroup::{Cgroup, Entrance};
use crate::error::Doing;
use crate::sys::{self, Argv, Born, Side};
use crate::wire::{Channel, GUEST_FD, Received, ToShim};
use crate::{Error, Result, limits};

mod child;

use child::Birth;
pub(crate) use child::refuse_the_nodes_own;

/// A guest process, waiting for its setup.
#[derive(Debug)]
pub struct Child {
    pub pid: u32,
    pub pidfd: OwnedFd,
    pub channel: Channel,
    /// To be sent with the setup, as [`crate::wire::SetupFds::sources`].
    pub sources: Vec<OwnedFd>,
}

/// Starts `program` (a static executable that speaks the wire) as the sandbox's first process; `words` are its
/// arguments, the first being its name.
///
/// Does not wait for the program to run: what fails later is the wire's first message.
pub fn spawn(
    program: &File,
    words: Vec<CString>,
    sandbox: &plan::Sandbox,
    cgroup: &Cgroup,
) -> Result<Child> {
    let entrance = cgroup.entrance()?;
    let (mut channel, guest_end) = Channel::pair()?;
    let birth = Birth::prepare(program, words, sandbox, &entrance, &guest_end)?;
    let sources = crate::enter::open_sources(sandbox)?;
    let born = if birth.needs_process_between(sandbox) {
        bear_through_another(&birth, &entrance, &mut channel)?
    } else {
        bear(&birth, &entrance)?
    };
    if let Err(error) = cgroup.hand_over(born.pid) {
        end(&born.pidfd);
        return Err(error);
    }
    drop(guest_end);
    if let Err(error) = attend(&born, sandbox, &birth, &channel) {
        end(&born.pidfd);
        return Err(error);
    }
    Ok(Child { pid: born.pid, pidfd: born.pidfd, channel, sources })
}

impl Child {
    /// Kills the process and takes its exit status, so that nothing remains.
    pub fn end(&self) {
        end(&self.pidfd);
    }
}

fn bear(birth: &Birth, entrance: &Entrance) -> Result<Born> {
    let mask = sys::block_signals();
    // SAFETY: `Birth::live` makes system calls on prepared values only, and never returns.
    let side = unsafe { sys::fork(birth.new_kinds, entrance.folder(), libc::SIGCHLD) };
    if let Ok(Side::Child) = side {
        birth.live(true);
    }
    sys::set_blocked_signals(mask);
    parent(side)
}

fn bear_through_another(birth: &Birth, entrance: &Entrance, channel: &mut Channel) -> Result<Born> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .doing(|| "making a pipe for the process that joins namespaces".into())?;
    let mask = sys::block_signals();
    // SAFETY: `Birth::deliver` makes system calls on prepared values only, and never returns.
    let side = unsafe { sys::fork(0, entrance.folder(), libc::SIGCHLD) };
    if let Ok(Side::Child) = side {
        birth.deliver(write.as_raw_fd());
    }
    sys::set_blocked_signals(mask);
    let between = parent(side)?;
    drop(write);
    let mut pid = [0; 4];
    let told = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut pid));
    reap(&between.pidfd);
    if told != Ok(4) {
        // It has said on the wire why.
        return Err(match channel.try_receive()? {
            Received::Message(ToShim::Refused { message }) => Error::Peer(message),
            _ => Error::Peer("the process that joins namespaces was killed".into()),
        });
    }
    let pid = i32::from_ne_bytes(pid);
    let found = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    // It is our child and nobody has waited for it, so the pid is still its own.
    let pidfd = found.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = pidfd.doing(|| format!("opening the guest process {pid}"))?;
    Ok(Born { pid: pid.unsigned_abs(), pidfd })
}

fn parent(side: rustix::io::Result<Side>) -> Result<Born> {
    match side {
        Ok(Side::Parent(born)) => Ok(born),
        Ok(Side::Child) => Err(Error::Refused("the child of a clone came back".into())),
        Err(errno) => Err(errno).doing(|| {
            "starting the guest in new namespaces (linux.namespaces) and its cgroup".into()
        }),
    }
}

/// The parent's part: what only a process outside of the new user namespace may do.
fn attend(born: &Born, sandbox: &plan::Sandbox, birth: &Birth, channel: &Channel) -> Result<()> {
    if let Some(adjust) = sandbox.oom_score_adj {
        set_oom_score_adj(born.pid, adjust)?;
    }
    if sandbox.namespaces.iter().any(|n| n.kind == Kind::User) {
        limits::raise_hard(born.pid, &sandbox.rlimits)?;
    }
    if !birth.waits {
        return Ok(());
    }
    write_map(born.pid, "uid_map", &sandbox.uid_mappings, "linux.uidMappings")?;
    write_map(born.pid, "gid_map", &sandbox.gid_mappings, "linux.gidMappings")?;
    rustix::io::write(channel, &[0])
        .map(drop)
        .doing(|| "telling the guest that its ids are mapped".into())
}

fn set_oom_score_adj(pid: u32, adjust: i32) -> Result<()> {
    match std::fs::write(format!("/proc/{pid}/oom_score_adj"), adjust.to_string()) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => Err(Error::Refused(format!(
            "process.oomScoreAdj {adjust} is lower than this process may set: the shim has no \
             CAP_SYS_RESOURCE; give it that capability, or set restrict_oom_score_adj = true in \
             containerd's CRI configuration"
        ))),
        written => written.doing(|| format!("setting process.oomScoreAdj to {adjust}")),
    }
}

pub(crate) fn write_map(pid: u32, file: &str, maps: &[plan::IdMapping], field: &str) -> Result<()> {
    let lines: String =
        maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect();
    std::fs::write(format!("/proc/{pid}/{file}"), &lines)
        .doing(|| format!("mapping ids by {field} ({})", lines.trim().replace('\n', ", ")))
}

/// Kills a child of ours and takes its exit status.
pub(crate) fn end(pidfd: &OwnedFd) {
    // Gone already is what we want.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    reap(pidfd);
}

fn reap(pidfd: &OwnedFd) {
    let options = rustix::process::WaitIdOptions::EXITED;
    let id = rustix::process::WaitId::PidFd(pidfd.as_fd());
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(id.clone(), options));
}

/// A copy of a descriptor above those that the guest gets.
fn above(fd: impl AsFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 16).doing(|| "copying a descriptor".into())
}

fn open_null() -> Result<OwnedFd> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    above(null.doing(|| "opening /dev/null".into())?)
}
