//! The work that effects set going: steps of creating, and waiters that last as long as a guest.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;
use wherry_core::lifecycle::{Denied, Key, Report, RootMount, Step};
use wherry_core::plan::CgroupPlace;
use wherry_core::spec::pod::Shared;
use wherry_sandbox::cgroup::{Cgroup, OomWatch};
use wherry_sandbox::process;

use crate::body::{Body, Guest, Guests, Parked, Planned, Product};
use crate::code::Compiled;
use crate::daemon::Input;
use crate::decide::{About, decide};
use crate::native::Native;
use crate::{create, metrics, reaper};

type Inputs = mpsc::UnboundedSender<Input>;

pub(crate) type StepJob = Box<dyn FnOnce() -> Result<Product, Option<Denied>> + Send>;

/// The work of a step, with what it needs; none if an earlier step did not bring that.
pub(crate) fn step_job(
    body: &mut Body,
    id: String,
    step: Step,
    namespace: Arc<str>,
    containerd: Arc<str>,
    guests: &Guests,
    pod: Option<Arc<Shared>>,
) -> Option<StepJob> {
    let (creation, written) = (body.creation.clone(), body.written.clone());
    if step == Step::Plan {
        let options = body.options.take();
        return Some(Box::new(move || {
            create::plan(&id, &namespace, &creation, options.as_ref(), pod.as_deref())
        }));
    }
    Some(match step {
        Step::Plan => return None,
        Step::Rootfs => {
            let bundle = body.bundle.clone();
            Box::new(move || create::rootfs(&bundle, &creation.rootfs, &written))
        }
        Step::Code => {
            let draft = body.draft.take()?;
            let (bundle, abort) = (body.bundle.clone(), body.abort.clone());
            let about = About { id, bundle, namespace, containerd, abort, written };
            Box::new(move || decide(draft, about))
        }
        Step::Cgroup => {
            let planned = body.planned.clone()?;
            Box::new(move || create::cgroup(&planned, &written))
        }
        Step::Guest => match body.native.clone() {
            Some(native) => {
                let (abort, expecting) = (body.abort.clone(), guests.expect());
                Box::new(move || {
                    let born = native.create(&creation, &abort, &written, expecting)?;
                    Ok(Product::Born(Box::new(born)))
                })
            }
            None => {
                let (planned, cgroup) = (body.planned.clone()?, body.cgroup.clone()?);
                Box::new(move || create::guest(&planned, &cgroup, &creation, &namespace, &written))
            }
        },
        // Waits for the guest rather than works: no job.
        Step::Ready => return None,
    })
}

/// runc makes the cgroup as it creates a container, and has it ready when it is done.
pub(crate) fn is_runcs(step: Step, body: &Body) -> bool {
    body.native.is_some() && matches!(step, Step::Cgroup | Step::Ready)
}

pub(crate) fn take_parked(body: &mut Body) -> Option<(Arc<Planned>, u32, Parked, Compiled)> {
    let (planned, pid) = (body.planned.clone()?, body.guest.as_ref()?.pid);
    Some((planned, pid, body.parked.take()?, body.code.take()?))
}

/// Steps that take less than waking a thread up twice, and touch nothing but the kernel: no network
/// file system can hold them up.
pub(crate) fn is_quick(step: Step, body: &Body) -> bool {
    let local = |mount: &RootMount| matches!(mount.kind.as_str(), "overlay" | "bind");
    match step {
        Step::Rootfs => body.creation.rootfs.iter().all(local),
        Step::Cgroup => {
            // systemd is asked over its bus.
            let place = body.planned.as_ref().map(|planned| &planned.plan.cgroup.place);
            matches!(place, Some(CgroupPlace::Path(_)))
        }
        Step::Plan | Step::Code | Step::Guest | Step::Ready => false,
    }
}

pub(crate) async fn wait_for_exit(
    id: String,
    guest: Guest,
    cgroup: Option<Arc<Cgroup>>,
    native: Option<Arc<Native>>,
    inputs: Inputs,
    guests: Guests,
) {
    reaper::ended(&guest.pidfd).await;
    // systemd removes a scope with its counters: in v1 when nobody is in it, and this one counts as long as its
    // status is not taken; in v2 when nobody runs in it, which is about now, so the reason of the end is read
    // first. Whether runc had it made by systemd, only runc knows.
    let oom = cgroup.as_ref().is_some_and(|c| c.oom_kills().is_ok_and(|kills| kills > 0));
    let by_systemd = |c: &&Arc<Cgroup>| native.is_some() || c.locator().unit.is_some();
    let used = cgroup.as_ref().filter(by_systemd).and_then(|c| metrics::read(c).ok());
    if let Some(cgroup) = cgroup.clone().filter(|_| native.is_some_and(|n| n.outlives_init())) {
        // In somebody else's pid namespace the kernel ends nothing with it (containerd,
        // `cmd/containerd-shim-runc-v2/task/service.go`, `handleInitExit`).
        let killed = tokio::task::spawn_blocking(move || cgroup.kill_all()).await;
        if let Ok(Err(error)) = killed {
            log::warn!("what the init of {id} left behind stays: {}", error.sentence());
        }
    }
    let exit = reaper::reap(&guest.pidfd);
    guests.remove(guest.pid);
    let _ = inputs.send(Input::Exited { id, exit, oom, used });
}

/// An exec's end is its own: what the container uses is told by its init.
pub(crate) async fn wait_for_exec(key: Key, guest: Guest, inputs: Inputs, guests: Guests) {
    reaper::ended(&guest.pidfd).await;
    let exit = reaper::reap(&guest.pidfd);
    guests.remove(guest.pid);
    let report = Report::ExecExited { exec: key.exec.unwrap_or_default(), exit };
    let _ = inputs.send(Input::Report { id: key.task, report });
}

pub(crate) async fn watch_oom(id: String, watch: OomWatch, cgroup: Arc<Cgroup>, inputs: Inputs) {
    // epoll can wait for an eventfd (v1) and for inotify (v2) alike.
    let looks = if watch.comes_before_the_count() { LOOKS } else { 1 };
    let Ok(watch) = reaper::readable(watch) else { return };
    while let Ok(mut ready) = watch.readable().await {
        ready.get_inner().clear();
        ready.clear_ready();
        if has_killed(&cgroup, looks).await
            && inputs.send(Input::Report { id: id.clone(), report: Report::Oom }).is_err()
        {
            return;
        }
    }
}

/// Whether the kernel has killed for want of memory, by so many looks: it may have found nobody to kill.
async fn has_killed(cgroup: &Cgroup, looks: u32) -> bool {
    for look in 1..=looks {
        if cgroup.oom_kills().is_ok_and(|kills| kills > 0) {
            return true;
        }
        if look < looks {
            tokio::time::sleep(LOOK).await;
        }
    }
    false
}

const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn send(pid: u32, signal: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Gone meanwhile is as good as signalled.
    if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        let _ = process::signal(&pidfd, signal);
    }
}
