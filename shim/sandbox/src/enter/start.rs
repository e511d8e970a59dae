//! From confined to running: what is left to do after the code is loaded, and at start.

use rustix::io::Errno;

use crate::error::Doing;
use crate::hooks::{self, Status};
use crate::sys::seccomp::ALL_THREADS;
use crate::sys::{self, Side};
use crate::wire::{Channel, Setup, ToGuest, ToShim};
use crate::{Error, Result, seccomp};

/// Inside. Holds what is still to do: [`Entered::seal`] after loading, [`Entered::start`] after
/// the shim said so.
#[derive(Debug)]
pub struct Entered {
    /// The spec's own filter.
    filter: Option<seccomp::spec::Filter>,
    /// Our second filter.
    seal: seccomp::Program,
    /// The process that runs the `startContainer` hooks, if there are any.
    hooks: Option<Channel>,
}

/// Our own confinement, from which nothing of the spec can except the guest.
pub(super) fn confine(setup: &Setup) -> Result<Entered> {
    let filter = setup.sandbox.seccomp.as_ref().map(seccomp::spec::Filter::read).transpose()?;
    let seal = seccomp::Program::compile(&seccomp::own::sealed());
    let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let own = seccomp::Program::compile(&seccomp::own::guest(pid));
    let hooks = start_hooks(setup, filter.as_ref())?;
    // The guest executes no program, so it loses nothing by this; filters need it.
    rustix::thread::set_no_new_privs(true).doing(|| "giving up new privileges".into())?;
    sys::landlock::confine_guest().doing(|| "confining the guest by Landlock".into())?;
    seccomp::install(&own, 0, "the guest's first system call filter")?;
    Ok(Entered { filter, seal, hooks })
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
        seccomp::install(&self.seal, ALL_THREADS, "the guest's second system call filter")?;
        // Last, since it may forbid what all the others needed.
        self.filter.as_ref().map_or(Ok(()), seccomp::spec::Filter::install)
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
fn start_hooks(setup: &Setup, filter: Option<&seccomp::spec::Filter>) -> Result<Option<Channel>> {
    if setup.hooks.start_container().as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let (ours, theirs) = Channel::pair()?;
    // SAFETY: this process has one thread (`enter` asks for it), so no lock is held by another;
    // `attend_start` ends the copy.
    match unsafe { sys::fork(0, None, libc::SIGCHLD) } {
        Ok(Side::Child) => {
            drop(ours);
            attend_start(setup, filter, theirs)
        }
        Ok(Side::Parent(_)) => Ok(Some(ours)),
        Err(errno) => Err(errno).doing(|| "making a process for startContainer hooks".into()),
    }
}

fn attend_start(setup: &Setup, filter: Option<&seccomp::spec::Filter>, guest: Channel) -> ! {
    // Nothing but the channel and the streams: holding the shim's wire, or the container's pipes
    // through a hook that does not end, would keep others waiting.
    let Ok(mut guest) = Channel::alone(guest) else { sys::exit(1) };
    if let Ok(Some(ToGuest::Start)) = guest.receive() {
        let state = setup.state.at(Status::Created);
        let hooks = setup.hooks.start_container().as_ref();
        let filtered = filter.map_or(Ok(()), seccomp::spec::Filter::install);
        let ran = filtered.and_then(|()| hooks::run_all("startContainer", hooks, &state));
        let answer = match ran {
            Ok(()) => ToShim::Ready,
            Err(e) => ToShim::Refused { message: e.sentence() },
        };
        let _ = guest.send(&answer, &[]);
    }
    sys::exit(0)
}
