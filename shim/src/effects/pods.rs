//! The sandbox of the pod: what holds it together is made, kept and let go.

use wherry_core::lifecycle::{Code, Denied, PodReport};

use super::Effects;
use crate::daemon::{Input, Payload, Reply};
use crate::lifeline::now;
use crate::metrics;
use crate::pod::{self, Holder, Wanted};
use crate::reaper;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use wherry_core::lifecycle::Answer;

impl Effects {
    /// For the process of a sandbox: containers bring theirs.
    pub(crate) fn keep_options(&mut self, options: Option<Any>) {
        self.options = options;
    }

    pub(super) fn hold(&mut self, id: String) {
        let Payload::Pod(request) = std::mem::replace(&mut self.arriving, Payload::None) else {
            log::error!("the sandbox {id} came without a description");
            return;
        };
        let wanted = Wanted {
            request: *request,
            options: self.options.clone(),
            namespace: self.namespace.clone(),
            guests: self.guests.clone(),
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let held = pod::make(wanted).await;
            // The owner is gone only when the shim leaves.
            let _ = inputs.send(Input::Held { held });
        });
    }

    /// Keeps what was made, and turns it into words for the ledger.
    pub(crate) fn held(&mut self, held: Result<Holder, Denied>) -> PodReport {
        let holder = match held {
            Ok(holder) => holder,
            Err(why) => return PodReport::HoldFailed { why },
        };
        if let Some(guest) = holder.guest() {
            let (inputs, guests) = (self.inputs.clone(), self.guests.clone());
            tokio::spawn(async move {
                reaper::ended(&guest.pidfd).await;
                let ended = reaper::reap(&guest.pidfd).ended;
                guests.remove(guest.pid);
                let _ = inputs.send(Input::OfPod { report: PodReport::Ended { ended } });
            });
        }
        let pid = holder.pid();
        self.pod = Some(holder);
        PodReport::Held { pid, at: now() }
    }

    pub(super) fn let_go(&mut self, id: &str) {
        let Some(holder) = self.pod.take() else {
            log::error!("there is nothing of the sandbox {id} to let go");
            let _ = self.inputs.send(Input::OfPod { report: PodReport::LetGone { at: now() } });
            return;
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            holder.let_go().await;
            let _ = inputs.send(Input::OfPod { report: PodReport::LetGone { at: now() } });
        });
    }

    /// What the sandbox uses for itself, which is nothing where it has no process.
    pub(super) fn pod_stats(&self) -> Reply {
        let cgroup = self.pod.as_ref().and_then(Holder::cgroup);
        match cgroup.map(metrics::read).transpose() {
            Ok(used) => Reply::Stats(Box::new(used.unwrap_or_default())),
            Err(why) => {
                let sentence = format!("cannot read what the sandbox uses: {why}");
                Reply::Answer(Answer::Denied(Denied::new(Code::Unknown, sentence)))
            }
        }
    }
}
