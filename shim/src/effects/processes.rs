//! What is done to processes: let go, signalled, frozen; by us, or by runc where it is the one to ask.

use std::collections::VecDeque;

use wherry_core::lifecycle::{Denied, Event, Key, Report};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::hooks::{self, Status};
use wherry_sandbox::process;
use wherry_sandbox::wire::ToGuest;

use super::Effects;
use crate::body::KILL;
use crate::create;
use crate::daemon::Input;
use crate::introduction::hook_state;
use crate::jobs::send;
use crate::limited::Abort;
use crate::native::Native;

impl Effects {
    pub(super) fn release(&mut self, id: String, events: &mut VecDeque<Event>) {
        if let Some(kept) = self.kept(&Key::init(&id)) {
            kept.hold_stdin();
        }
        if let Some((native, abort)) = self.native(&id) {
            return self.job(move || {
                let failure = native.start(&abort).err();
                Input::Report { id, report: Report::Released { failure } }
            });
        }
        let channel = self.bodies.get_mut(&id).and_then(|body| body.channel.take());
        // A guest that died meanwhile has an exit to come, which says it all.
        if let Some(Err(error)) = channel.map(|channel| channel.send(&ToGuest::Start, &[])) {
            log::warn!("the guest of {id} did not hear the start: {}", error.sentence());
        }
        let report = Report::Released { failure: None };
        events.push_back(Event::Reported { id, report });
    }

    pub(super) fn poststart(&mut self, id: String, events: &mut VecDeque<Event>) {
        let body = self.bodies.get(&id);
        let planned = body.and_then(|body| body.planned.clone());
        let pid = body.and_then(|body| body.guest.as_ref()).map_or(0, |guest| guest.pid);
        match planned.filter(|p| p.plan.hooks.poststart().as_ref().is_some_and(|h| !h.is_empty())) {
            None => {
                let report = Report::Poststarted { failure: None };
                events.push_back(Event::Reported { id, report });
            }
            Some(planned) => self.job(move || {
                let state = hook_state(&planned, pid, Status::Running);
                let hooks = planned.plan.hooks.poststart().as_ref();
                let failure =
                    hooks::run_all("poststart", hooks, &state).err().map(|e| e.sentence());
                Input::Report { id, report: Report::Poststarted { failure } }
            }),
        }
    }

    pub(super) fn signal(&self, key: &Key, signal: u32) {
        let guest = self.bodies.get(&key.task).and_then(|body| match &key.exec {
            None => body.guest.as_ref(),
            Some(exec) => body.execs.get(exec)?.guest.as_ref(),
        });
        if let Some(guest) = guest
            && let Err(error) = process::signal(&guest.pidfd, signal)
        {
            log::warn!("the guest of {}: {}", key.task, error.sentence());
        }
    }

    pub(super) fn signal_all(&self, id: &str, signal: u32) {
        self.signal(&Key::init(id), signal);
        let Some(cgroup) = self.bodies.get(id).and_then(|body| body.cgroup.clone()) else { return };
        let id = id.to_owned();
        tokio::task::spawn_blocking(move || {
            let done = match signal {
                KILL => cgroup.kill_all(),
                _ => cgroup.pids().map(|pids| pids.into_iter().for_each(|pid| send(pid, signal))),
            };
            if let Err(error) = done {
                log::warn!("cannot signal all processes of {id}: {}", error.sentence());
            }
        });
    }

    /// Freezes the task or lets it go on, by its cgroup or, if it is native, by runc.
    pub(super) fn pause(
        &self,
        id: String,
        by_us: fn(&Cgroup) -> wherry_sandbox::Result<()>,
        by_runc: fn(&Native, &Abort) -> Result<(), Denied>,
        report: impl FnOnce(Option<Denied>) -> Report + Send + 'static,
    ) {
        let cgroup = self.bodies.get(&id).and_then(|body| body.cgroup.clone());
        let native = self.native(&id);
        self.job(move || {
            let failure = match native {
                Some((native, abort)) => by_runc(&native, &abort).err(),
                None => cgroup.and_then(|c| by_us(&c).err()).map(|e| create::failed(&e)),
            };
            Input::Report { id, report: report(failure) }
        });
    }

    pub(super) fn wake(&self, id: &str) {
        if let Some(cgroup) = self.bodies.get(id).and_then(|body| body.cgroup.clone()) {
            tokio::task::spawn_blocking(move || cgroup.thaw());
        }
    }
}
