//! Execs: added, started, forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use wherry_core::lifecycle::{Code, Denied, Event, Key, Report, Stdio};

use super::Effects;
use crate::daemon::{Input, Payload};
use crate::exec::{Exec, Start, Started};
use crate::jobs::wait_for_exec;
use crate::native;
use crate::stdio;

impl Effects {
    pub(super) fn add_exec(&mut self, key: &Key, stdio: Stdio) {
        let Payload::Exec(given) = std::mem::replace(&mut self.arriving, Payload::None) else {
            log::error!("an exec of {} came without a process", key.task);
            return;
        };
        let Some(body) = self.bodies.get_mut(&key.task) else { return };
        match Exec::new(Arc::from(given), stdio) {
            Ok(exec) => drop(body.execs.insert(key.exec.clone().unwrap_or_default(), exec)),
            // Starting it says so.
            Err(error) => log::error!("an exec of {} cannot be kept: {error}", key.task),
        }
    }

    pub(super) fn start_exec(&self, key: Key, events: &mut VecDeque<Event>) {
        let (namespace, containerd) = (Arc::clone(&self.namespace), Arc::clone(&self.containerd));
        let body = self.bodies.get(&key.task);
        if let Some(native) = body.and_then(|body| body.native.clone())
            && let Some(exec) = body.and_then(|body| body.execs.get(key.exec.as_ref()?))
        {
            let (given, stdio) = (Arc::clone(&exec.given), exec.stdio.clone());
            let (abort, expecting) = (exec.abort.clone(), self.guests.expect());
            return self.job(move || {
                let name = key.exec.as_deref().unwrap_or_default();
                let ran = native.exec(name, &given.json, &stdio, &abort);
                let started = ran.map(|native::Ran { guest, mut kept }| {
                    kept.hold_stdin();
                    Started { guest, kept, _expecting: Some(expecting) }
                });
                Input::ExecStarted { key, started }
            });
        }
        let Some(start) = body.and_then(|body| Start::of(&key, body, namespace, containerd)) else {
            let exec = key.exec.unwrap_or_default();
            let why = Denied::new(Code::ResourceExhausted, "the shim has lost the exec's process");
            let report = Report::ExecFailed { exec, why };
            events.push_back(Event::Reported { id: key.task, report });
            return;
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let started = start.run().await;
            let _ = inputs.send(Input::ExecStarted { key, started });
        });
    }

    /// runc finds out by itself that there is nothing to go into.
    pub(super) fn abort_exec(&self, key: &Key) {
        let guest = self.bodies.get(&key.task).filter(|body| body.native.is_none());
        let exec = guest.and_then(|body| body.execs.get(key.exec.as_ref()?));
        if let Some(exec) = exec {
            exec.abort.tell();
        }
    }

    /// Keeps what starting brought, and turns it into words for the ledger.
    pub(crate) fn exec_started(&mut self, key: &Key, started: Result<Started, Denied>) -> Report {
        let name = key.exec.clone().unwrap_or_default();
        let Started { guest, mut kept, _expecting } = match started {
            Ok(started) => started,
            Err(why) => return Report::ExecFailed { exec: name, why },
        };
        let pid = guest.pid;
        self.guests.add(pid);
        let (inputs, guests) = (self.inputs.clone(), self.guests.clone());
        tokio::spawn(wait_for_exec(key.clone(), guest.clone(), inputs, guests));
        let body = self.bodies.get_mut(&key.task);
        if let Some(exec) = body.and_then(|body| body.execs.get_mut(&name)) {
            if exec.stdin_closed {
                kept.close_stdin();
            }
            (exec.guest, exec.kept) = (Some(guest), Some(kept));
        }
        Report::ExecStarted { exec: name, pid }
    }

    /// Its last output may still be under way; nobody waits for it but whoever reads it.
    pub(super) fn forget_exec(&mut self, key: &Key) {
        let name = key.exec.as_deref().unwrap_or_default();
        let Some(body) = self.bodies.get_mut(&key.task) else { return };
        let Some(Exec { abort, kept: Some(mut kept), .. }) = body.execs.remove(name) else {
            return;
        };
        abort.tell();
        let (output, logger) = kept.take_draining();
        if output.is_none() && logger.is_none() {
            return;
        }
        let draining = tokio::spawn(async move {
            stdio::drained(output, logger).await;
            drop(kept);
        });
        // A handle keeps all of its task, and a container may see a probe each second of its life.
        body.watchers.retain(|watcher| !watcher.is_finished());
        body.watchers.push(draining.abort_handle());
    }
}
