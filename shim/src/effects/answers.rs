//! What a task is asked for and answers itself: processes, metrics, limits, the size of a terminal.

use containerd_shim_protos::api::ProcessInfo;
use containerd_shim_protos::protobuf::CodedOutputStream;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use wherry_core::lifecycle::{Answer, Code, Denied, Key, Ticket};

use super::Effects;
use crate::daemon::{Input, Payload, Reply};
use crate::{metrics, undo};

impl Effects {
    /// Never none while the task is there: containerd takes a shim without processes for a leak.
    pub(super) fn pids(&self, id: &str) -> Reply {
        let body = self.bodies.get(id);
        let in_group = body.and_then(|body| body.cgroup.as_ref()).and_then(|c| c.pids().ok());
        let mut pids = in_group.unwrap_or_default();
        let init = body.and_then(|body| body.guest.as_ref()).map(|guest| guest.pid);
        if let Some(init) = init.filter(|init| !pids.contains(init)) {
            pids.insert(0, init);
        }
        let execs = body.map(|body| &body.execs);
        let exec_of = |pid| {
            let mut all = execs.into_iter().flatten();
            all.find(|(_, exec)| exec.guest.as_ref().is_some_and(|guest| guest.pid == pid))
        };
        let info = |pid| ProcessInfo {
            pid,
            info: exec_of(pid).map(|(id, _)| details(id)).into(),
            ..ProcessInfo::default()
        };
        Reply::Pids(pids.into_iter().map(info).collect())
    }

    pub(super) fn stats(&self, id: &str) -> Reply {
        let denied = |why: String| Reply::Answer(Answer::Denied(Denied::new(Code::NotFound, why)));
        let Some(body) = self.bodies.get(id) else {
            return denied(format!("task {id} not found"));
        };
        if let Some(used) = &body.used {
            return Reply::Stats(Box::new(used.clone()));
        }
        match body.cgroup.as_ref().map(|cgroup| metrics::read(cgroup)) {
            Some(Ok(metrics)) => Reply::Stats(Box::new(metrics)),
            Some(Err(why)) => denied(format!("cannot read what task {id} uses: {why}")),
            None => denied(format!("task {id} has no cgroup")),
        }
    }

    pub(super) fn update(&mut self, id: &str, ticket: Ticket) {
        let cgroup = self.bodies.get(id).and_then(|body| body.cgroup.clone());
        let native = self.native(id);
        let resources = match std::mem::replace(&mut self.arriving, Payload::None) {
            Payload::Update(resources) => resources,
            Payload::None
            | Payload::Create(_)
            | Payload::Exec(_)
            | Payload::Resize(_)
            | Payload::Pod(_) => None,
        };
        self.job(move || {
            let updated = match (&native, &resources) {
                (Some((native, abort)), Some(resources)) => native.update(&resources.value, abort),
                _ => undo::update(cgroup.as_deref(), resources.as_ref()),
            };
            let answer = match updated {
                Ok(()) => Answer::Empty,
                Err(denied) => Answer::Denied(denied),
            };
            Input::Found { ticket, reply: Reply::Answer(answer) }
        });
    }

    /// Without a terminal nothing happens, as in containerd's own shim.
    pub(super) fn resize(&mut self, key: &Key) -> Reply {
        let size = match std::mem::replace(&mut self.arriving, Payload::None) {
            Payload::Resize(size) => size,
            Payload::None
            | Payload::Create(_)
            | Payload::Update(_)
            | Payload::Exec(_)
            | Payload::Pod(_) => {
                return Reply::Answer(Answer::Empty);
            }
        };
        match self.kept(key).map_or(Ok(()), |kept| kept.resize(size)) {
            Ok(()) => Reply::Answer(Answer::Empty),
            Err(error) => {
                let sentence = format!("cannot resize the terminal: {error}");
                Reply::Answer(Answer::Denied(Denied::new(Code::Unknown, sentence)))
            }
        }
    }
}

/// Which exec a process is, as containerd's own shim tells it
/// (`containerd.runc.v1.ProcessDetails`, in no crate: field 1 is the id).
fn details(exec: &str) -> Any {
    let mut value = Vec::new();
    let mut stream = CodedOutputStream::vec(&mut value);
    // A vector takes everything.
    let written = stream.write_string(1, exec).and_then(|()| stream.flush());
    drop(stream);
    debug_assert!(written.is_ok());
    Any { type_url: "containerd.runc.v1.ProcessDetails".into(), value, ..Any::default() }
}
