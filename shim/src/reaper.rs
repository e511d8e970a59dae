//! Ends of processes: each guest has one waiter, which holds its pidfd and takes its status.
//!
//! Nothing here waits for "any child": that would take the status from whoever started it. As a
//! subreaper, though, the shim inherits what its children leave behind (a hook's daemon, for one);
//! such orphans are taken when they have been dead for a while and nobody did.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::wait::{self, WaitPidFlag};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use wherry_core::lifecycle::{Ended, Exit};

use crate::lifeline::now;

/// How long whoever started a child gets to take its status.
const PATIENCE: Duration = Duration::from_secs(2);

/// A descriptor to wait for until it is readable.
pub(crate) fn readable<T: AsFd + AsRawFd>(fd: T) -> std::io::Result<AsyncFd<T>> {
    waitable(fd, Interest::READABLE)
}

/// A descriptor to wait for. tokio deprecates its safe way since a type may lie about what it owns;
/// those which implement `AsFd` may not.
#[expect(deprecated)]
pub(crate) fn waitable<T: AsFd + AsRawFd>(
    fd: T,
    interest: Interest,
) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(fd, interest)
}

/// Waits until the process has ended. Its status is still to be taken: its cgroup is still its own.
pub(crate) async fn ended(pidfd: &Arc<OwnedFd>) {
    // Readable for ever once the process is a zombie (pidfd_open(2)).
    match pidfd.try_clone().and_then(readable) {
        Ok(waiting) => drop(waiting.ready(Interest::READABLE).await),
        // Out of descriptors, and the end must be told all the same: a thread needs none of its own.
        Err(_) => {
            let pidfd = Arc::clone(pidfd);
            let _ = tokio::task::spawn_blocking(move || wait_for(&pidfd)).await;
        }
    }
}

/// Whether the process has ended by now.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec::default();
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now))).is_ok_and(|ended| ended > 0)
}

fn wait_for(pidfd: &OwnedFd) {
    let wait = || poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None);
    let _ = rustix::io::retry_on_intr(wait);
}

/// Takes the status of a process that has ended.
pub(crate) fn reap(pidfd: &impl AsFd) -> Exit {
    let id = WaitId::PidFd(pidfd.as_fd());
    let status = rustix::io::retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED));
    Exit { ended: status.ok().flatten().map_or(UNKNOWN, how), at: now() }
}

/// As containerd has it for what nobody knows.
const UNKNOWN: Ended = Ended::Code(255);

fn how(status: WaitIdStatus) -> Ended {
    let byte = |n: i32| u8::try_from(n & 0xff).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Code(byte(code)),
        (None, Some(signal)) => Ended::Signal(byte(signal)),
        (None, None) => UNKNOWN,
    }
}

/// Takes orphans, for ever. `ours` tells children that have a waiter.
pub(crate) async fn adopt(ours: impl Fn(u32) -> bool) -> std::io::Result<()> {
    let mut child_ended = signal(SignalKind::child())?;
    let mut seen = None;
    loop {
        if seen.is_none() && child_ended.recv().await.is_none() {
            return Ok(());
        }
        tokio::time::sleep(PATIENCE).await;
        seen = sweep(seen, &ours);
    }
}

/// The kernel shows the first of the dead until it is taken: one that was dead at the last look,
/// too, is nobody's. Returns the one to look at again.
fn sweep(mut seen: Option<Pid>, ours: &impl Fn(u32) -> bool) -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(dead) = wait::waitid(wait::Id::All, look).ok().and_then(|status| status.pid()) {
        let has_waiter = ours(dead.as_raw().unsigned_abs());
        if has_waiter || seen != Some(dead) {
            return Some(dead);
        }
        let take = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let _ = wait::waitid(wait::Id::Pid(dead), take);
        seen = None;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn an_end_is_seen_without_a_descriptor_to_spare() {
        let mut child = Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        wait_for(&pidfd);
        assert_eq!(child.try_wait().unwrap().and_then(|status| status.code()), Some(3));
    }
}
