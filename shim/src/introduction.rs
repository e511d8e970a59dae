//! What the shim and a new guest say to each other until the guest is ready.

use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wherry_core::lifecycle::{Code, Denied};
use wherry_sandbox::hooks::{self, Status};
use wherry_sandbox::wire::{Channel, Outgoing, Received, Setup, SetupFds, ToGuest, ToShim};

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
    let sent = send(&channel, setup, fds).await;
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
                sent?;
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
        ready.map_err(cannot_wait)?.clear_ready();
    }
}

/// Most setups fit into the socket. A larger one waits for its guest to read, and nobody else does:
/// a cgroup that is throttled or frozen may keep a guest from it for as long as it likes.
async fn send(channel: &Channel, setup: Setup, fds: SetupFds) -> Result<(), Denied> {
    let mut setup = Outgoing::setup(setup, fds).map_err(|e| failed(&e))?;
    if setup.try_send(channel).map_err(|e| failed(&e))? {
        return Ok(());
    }
    let socket = reaper::waitable(channel.as_fd(), Interest::WRITABLE).map_err(cannot_wait)?;
    loop {
        let mut room = socket.writable().await.map_err(cannot_wait)?;
        if setup.try_send(channel).map_err(|e| failed(&e))? {
            return Ok(());
        }
        room.clear_ready();
    }
}

fn cannot_wait(error: std::io::Error) -> Denied {
    invalid(format!("cannot wait for the guest: {error}"))
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::Duration;

    use wherry_core::spec::{self, Input, Options, Role};

    use super::*;
    use crate::code;
    use crate::create::facts;
    use crate::stdio::Ends;

    /// A container whose environment is larger than a socket holds.
    fn planned() -> Planned {
        let json = serde_json::json!({
            "ociVersion": "1.2.0",
            "process": {
                "args": ["/app.wasm"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
                "env": [format!("LARGE={}", "x".repeat(1 << 20))],
            },
            "root": { "path": "rootfs" },
            "linux": { "cgroupsPath": "/wherry/large", "namespaces": [{ "type": "mount" }] },
        });
        let spec = spec::parse(&json.to_string()).expect("a spec");
        let options = Options::default();
        let bundle = Path::new("/bundle");
        let (namespace, id) = ("default", "large");
        let facts = facts();
        let input = Input { spec: &spec, bundle, namespace, id, options: &options, facts };
        let plan = spec::plan(input).expect("a plan");
        Planned { role: Role::Program, plan, options, oci_version: "1.2.0".to_owned() }
    }

    /// It did hold up every call of the pod: the shim has one thread.
    #[tokio::test]
    async fn a_guest_that_does_not_read_holds_up_nobody_else() {
        let (channel, mut guest) = Channel::pair().expect("a wire");
        let null = || OwnedFd::from(File::open("/dev/null").expect("every machine has it"));
        let ends = Ends { stdin: null(), stdout: null(), stderr: null(), terminal: false };
        let parked = Parked { channel, sources: vec![null()], ends, memory: None };
        let (somebody_else, waits) = mpsc::channel();
        let guest = std::thread::spawn(move || {
            let long = Duration::from_secs(10);
            waits.recv_timeout(long).expect("the shim's thread waits for the guest alone");
            let (setup, fds) = guest.receive_setup().expect("the setup");
            guest.send(&ToShim::Ready, &[]).expect("the shim listens");
            (setup.run.env[0].1.len(), fds.sources.len())
        });
        let code = code::none().expect("no code");
        let served = async {
            tokio::task::yield_now().await;
            somebody_else.send(()).expect("the guest is there");
        };
        let (ready, ()) = tokio::join!(ready(Arc::new(planned()), 1, parked, code), served);
        ready.expect("ready");
        assert_eq!(guest.join().expect("a guest"), (1 << 20, 1));
    }
}
