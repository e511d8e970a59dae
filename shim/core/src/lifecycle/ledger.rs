//! All tasks of one shim, and the sandbox of their pod if containerd asked for it.

use std::collections::BTreeMap;

use super::effect::{Answer, Effect};
use super::event::{Call, Creation, Event, PodCall, PodReport, Report};
use super::pod::Pod;
use super::task::{Task, reply};
use super::{Code, Denied, Step, Ticket};

/// The state of a shim: one value with one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    tasks: BTreeMap<String, Task>,
    pod: Option<Pod>,
    /// `Shutdown` was asked when nothing was left but tasks that nobody wants any more.
    leaving: bool,
}

impl Ledger {
    /// Takes in what happened and says what to do. A denied call has changed nothing, and the
    /// denial is its answer.
    pub fn step(&mut self, event: Event) -> Result<Vec<Effect>, Denied> {
        match event {
            Event::Called { ticket, call } => self.call(ticket, call),
            Event::Reported { id, report } => Ok(self.report(&id, report)),
            Event::OfPod { report } => Ok(self.pod_report(report)),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.pod.is_none()
    }

    fn call(&mut self, ticket: Ticket, call: Call) -> Result<Vec<Effect>, Denied> {
        match call {
            Call::Create { id, creation } => self.create(ticket, id, creation),
            // Never fails: containerd asks it of every bundle it finds when it starts.
            Call::Connect { id } => {
                let of_pod = self.pod.as_ref().filter(|pod| pod.is(&id)).map_or(0, Pod::pid);
                let pid = self.tasks.get(&id).map_or(of_pod, Task::connected_pid);
                Ok(vec![reply(ticket, Answer::Connected(pid))])
            }
            Call::Shutdown => {
                let mut effects = vec![reply(ticket, Answer::Empty)];
                // containerd asks after every task of a pod; the last one counts. A sandbox has a shutdown of its own.
                if self.is_empty() {
                    effects.push(Effect::Leave);
                }
                // It asks once, also for a task whose creation was given up and is still being undone.
                self.leaving = self.pod.is_none() && self.tasks.values().all(Task::is_given_up);
                Ok(effects)
            }
            Call::Task { id, call } => {
                let task = self.tasks.get_mut(&id).ok_or_else(|| Denied::no_task(&id))?;
                let (phase, effects) = task.call(ticket, call)?;
                self.settle(&id, phase);
                Ok(effects)
            }
            Call::Exec { id, exec, call } => {
                let task = self.tasks.get_mut(&id).ok_or_else(|| Denied::no_task(&id))?;
                task.call_exec(ticket, &exec, call)
            }
            Call::Pod { id, call } => self.pod(ticket, id, call),
        }
    }

    fn pod(&mut self, ticket: Ticket, id: String, call: PodCall) -> Result<Vec<Effect>, Denied> {
        match (&mut self.pod, call) {
            (None, PodCall::Create) => {
                let (pod, effects) = Pod::new(id, ticket);
                (self.pod, self.leaving) = (Some(pod), false);
                Ok(effects)
            }
            // containerd asks also after a sandbox that could not be made, and nobody asks again.
            (None, PodCall::Shutdown) if self.tasks.is_empty() => {
                Ok(vec![reply(ticket, Answer::Empty), Effect::Leave])
            }
            (Some(pod), call) if call == PodCall::Create || pod.is(&id) => {
                let next = pod.call(ticket, call)?;
                if next.gone {
                    self.pod = None;
                }
                Ok(next.effects)
            }
            (Some(_) | None, _) => Err(Denied::no_pod(&id)),
        }
    }

    fn pod_report(&mut self, report: PodReport) -> Vec<Effect> {
        let Some(pod) = &mut self.pod else { return vec![] };
        let next = pod.report(report);
        if next.gone {
            self.pod = None;
        }
        next.effects
    }

    fn create(
        &mut self,
        ticket: Ticket,
        id: String,
        creation: Creation,
    ) -> Result<Vec<Effect>, Denied> {
        if self.tasks.contains_key(&id) {
            return Err(Denied::new(Code::AlreadyExists, format!("task {id} exists already")));
        }
        if !creation.checkpoint.is_empty() {
            return Err(Denied::new(
                Code::Unimplemented,
                "a container cannot be restored from a checkpoint",
            ));
        }
        self.leaving = false;
        let task = Task::new(&id, creation, ticket);
        let first = task.take(Step::Plan);
        self.tasks.insert(id, task);
        Ok(vec![first])
    }

    fn report(&mut self, id: &str, report: Report) -> Vec<Effect> {
        let Some(task) = self.tasks.get_mut(id) else { return unclaimed(id, report) };
        let (phase, mut effects) = task.report(report);
        self.settle(id, phase);
        if self.leaving && self.is_empty() {
            effects.push(Effect::Leave);
        }
        effects
    }

    fn settle(&mut self, id: &str, phase: Option<super::task::Phase>) {
        match (phase, self.tasks.get_mut(id)) {
            (Some(phase), Some(task)) => task.phase = phase,
            (None, _) => drop(self.tasks.remove(id)),
            (Some(_), None) => {}
        }
    }
}

/// The task has gone meanwhile. Who waits for the report still gets an answer.
fn unclaimed(id: &str, report: Report) -> Vec<Effect> {
    match report {
        Report::Frozen { ticket, .. } | Report::Thawed { ticket, .. } => {
            vec![reply(ticket, Answer::Denied(Denied::no_task(id)))]
        }
        Report::Done { .. }
        | Report::Failed { .. }
        | Report::Released { .. }
        | Report::Poststarted { .. }
        | Report::Exited { .. }
        | Report::Oom
        | Report::Drained
        | Report::DrainDeadline
        | Report::Undone
        | Report::ExecStarted { .. }
        | Report::ExecFailed { .. }
        | Report::ExecExited { .. } => vec![],
    }
}

impl Task {
    /// It is not there yet, and never will be.
    fn is_given_up(&self) -> bool {
        use super::task::Phase;
        matches!(self.phase, Phase::Undoing { .. } | Phase::Creating { cancel: Some(_), .. })
    }

    /// A pid is told only once it is the container's for sure.
    fn connected_pid(&self) -> u32 {
        use super::task::Phase;
        match self.phase {
            Phase::Creating { .. } | Phase::Undoing { .. } => 0,
            Phase::Created
            | Phase::Starting
            | Phase::Running
            | Phase::Paused
            | Phase::Ending { .. }
            | Phase::Stopped { .. }
            | Phase::Deleting { .. } => self.known_pid(),
        }
    }
}
