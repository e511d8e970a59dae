//! From confined to running: what is left to do after the code is loaded, and at start.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::error::Doing;
use crate::hooks::{self, Status};
use crate::sys::{self, Side};
use crate::wire::{Channel, Setup, ToGuest, ToShim};
use crate::{Error, Result};

/// Inside. Holds what is still to do: [`Entered::seal`] after loading, [`Entered::start`] after
/// the shim said so.
#[derive(Debug)]
pub struct Entered {
    /// The process that runs the `startContainer` hooks, if there are any.
    hooks: Option<Channel>,
}

/// Our own confinement, from which nothing of the spec can except the guest.
pub(super) fn confine(setup: &Setup) -> Result<Entered> {
    let hooks = start_hooks(setup)?;
    Ok(Entered { hooks })
}

impl Entered {
    /// No new executable memory, no programs, no namespaces from now on, and the spec's own system
    /// call filter (`linux.seccomp`): after the code is loaded, before `Ready`.
    pub fn seal(&mut self) -> Result<()> {
        match sys::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN) {
            // Before 6.3; the filter says the same.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno).doing(|| "refusing new executable memory".into()),
        }
        Ok(())
    }

    /// Runs the `startContainer` hooks, if any: after `Start`, before the first guest instruction.
    pub fn start(self) -> Result<()> {
        let Some(mut hooks) = self.hooks else { return Ok(()) };
        hooks.send(&ToGuest::Start, &[])?;
        match hooks.receive()? {
            Some(ToShim::Ready) => Ok(()),
            Some(ToShim::Refused { message }) => Err(Error::Hook(message)),
            _ => Err(Error::Hook("the process that runs startContainer hooks is gone".into())),
        }
    }
}

// prctl(2): not in libc for every target.
const PR_SET_MDWE: i32 = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: u64 = 1;

/// `startContainer` hooks run inside, as the container's user, when the container starts. The
/// guest may not execute programs then, so a copy of this process made before that waits for the
/// word. Without such hooks there is no copy.
fn start_hooks(setup: &Setup) -> Result<Option<Channel>> {
    if setup.hooks.start_container().as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let (ours, theirs) = Channel::pair()?;
    // SAFETY: this process has one thread (`enter` asks for it), so no lock is held by another;
    // `attend_start` ends the copy.
    match unsafe { sys::fork(0, None, libc::SIGCHLD) } {
        Ok(Side::Child) => {
            drop(ours);
            attend_start(setup, theirs)
        }
        Ok(Side::Parent(_)) => Ok(Some(ours)),
        Err(errno) => Err(errno).doing(|| "making a process for startContainer hooks".into()),
    }
}

fn attend_start(setup: &Setup, mut guest: Channel) -> ! {
    // Nothing but the channel and the streams: not the shim's wire, not the code.
    let kept = rustix::io::fcntl_dupfd_cloexec(guest.as_fd(), 64);
    if let Ok(kept) = kept {
        guest = Channel::from(kept);
    }
    if let Ok(Some(ToGuest::Start)) = guest.receive() {
        let state = setup.state.at(Status::Created);
        let ran = hooks::run_all("startContainer", setup.hooks.start_container().as_ref(), &state);
        let answer = match ran {
            Ok(()) => ToShim::Ready,
            Err(e) => ToShim::Refused { message: e.sentence() },
        };
        let _ = guest.send(&answer, &[]);
    }
    sys::exit(0)
}
