//! What the shim and a new guest say to each other until the guest is ready.

use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use wherry_core::lifecycle::{Code, Denied};
use wherry_sandbox::hooks::{self, Status};
use wherry_sandbox::wire::{Channel, Received, Setup, SetupFds, ToGuest, ToShim};

use crate::body::{Parked, Planned};
use crate::code::Compiled;
use crate::create::{failed, invalid};
use crate::reaper;

/// The init process of a container, until it is parked and ready.
pub(crate) async fn ready(
    planned: Arc<Planned>,
    pid: u32,
    parked: Parked,
    code: Compiled,
) -> Result<Channel, Option<Denied>> {
    let plan = &planned.plan;
    let setup = Setup {
        sandbox: plan.sandbox.clone(),
        run: plan.run.clone(),
        hooks: plan.hooks.clone(),
        state: hook_state(&planned, pid, Status::Creating),
        profile: code.profile,
        terminal: parked.ends.terminal,
        memory: false,
    };
    introduce(planned, parked, code, setup).await
}

/// Tells a guest what it is, runs the hooks it asks for, and hears that it is ready.
///
/// Waits without a thread: the guest does the work, and a wake-up less is a wake-up less.
pub(crate) async fn introduce(
    planned: Arc<Planned>,
    parked: Parked,
    code: Compiled,
    setup: Setup,
) -> Result<Channel, Option<Denied>> {
    let Parked { channel, sources, ends, memory } = parked;
    let state = setup.state.clone();
    let fds = SetupFds {
        code: code.file.into(),
        stdin: ends.stdin,
        stdout: ends.stdout,
        stderr: ends.stderr,
        memory,
        sources,
    };
    // A guest that is gone has perhaps said why: that is worth more than the broken pipe.
    let sent = channel.send_setup(setup, &fds);
    drop(fds);
    let cannot_wait = |e: std::io::Error| invalid(format!("cannot wait for the guest: {e}"));
    let mut channel = reaper::readable(channel).map_err(cannot_wait)?;
    let mut hook_failure = None;
    loop {
        match next(&mut channel).await? {
            Some(ToShim::Ready) => return Ok(channel.into_inner()),
            Some(ToShim::RunRuntimeHooks) => {
                let (planned, state) = (Arc::clone(&planned), state.clone());
                let ran = tokio::task::spawn_blocking(move || run_hooks(&planned, &state)).await;
                hook_failure = ran.unwrap_or_else(|e| Some(format!("the hooks: {e}")));
                let answer = match &hook_failure {
                    None => ToGuest::HooksDone,
                    Some(message) => ToGuest::HooksFailed { message: message.clone() },
                };
                // If it is gone, the next look at the wire tells.
                let _ = channel.get_ref().send(&answer, &[]);
            }
            Some(ToShim::Refused { message }) => {
                return Err(Some(Denied::new(Code::FailedPrecondition, message)));
            }
            None => {
                sent.map_err(|e| failed(&e))?;
                return Err(hook_failure.map(|why| Denied::new(Code::FailedPrecondition, why)));
            }
        }
    }
}

/// What the guest says next; none if it is gone.
async fn next(channel: &mut AsyncFd<Channel>) -> Result<Option<ToShim>, Denied> {
    loop {
        match channel.get_mut().try_receive().map_err(|e| failed(&e))? {
            Received::Message(message) => return Ok(Some(message)),
            Received::Closed => return Ok(None),
            Received::Nothing => {}
        }
        let ready = channel.readable().await;
        ready.map_err(|e| invalid(format!("cannot wait for the guest: {e}")))?.clear_ready();
    }
}

fn run_hooks(planned: &Planned, state: &hooks::State) -> Option<String> {
    let all = &planned.plan.hooks;
    // Deprecated is not unused: Docker up to 27 hands its network over in a prestart hook.
    #[allow(deprecated)]
    let prestart = all.prestart();
    let run = hooks::run_all("prestart", prestart.as_ref(), state)
        .and_then(|()| hooks::run_all("createRuntime", all.create_runtime().as_ref(), state));
    run.err().map(|e| e.sentence())
}

pub(crate) fn hook_state(planned: &Planned, pid: u32, status: Status) -> hooks::State {
    hooks::State {
        oci_version: planned.oci_version.clone(),
        id: planned.plan.id.clone(),
        status,
        pid: i32::try_from(pid).unwrap_or(0),
        bundle: planned.plan.bundle.clone(),
        annotations: planned.plan.annotations.clone(),
    }
}
