//! What comes about for a task, phase by phase.

use super::effect::{Answer, Effect, Notice};
use super::event::{Exit, Report};
use super::task::{Next, Phase, Stage, Task, Undo, reply};
use super::{Code, Denied, Step, Ticket};

impl Task {
    pub(super) fn report(&mut self, report: Report) -> Next {
        use Report as R;
        let phase = self.phase.clone();
        match (phase, report) {
            (Phase::Creating { ticket, cancel, .. }, R::Done { step, pid }) => {
                self.pid = pid.or(self.pid);
                match (cancel, step.next()) {
                    (Some(cancel), _) => {
                        self.undo(ticket, Some(cancel.why), cancel.answers, step.back(), step)
                    }
                    (None, Some(next)) => {
                        let phase = Phase::Creating { ticket, step: next, cancel: None };
                        (Some(phase), vec![self.take(next)])
                    }
                    (None, None) => self.created(ticket),
                }
            }
            (Phase::Creating { ticket, cancel, .. }, R::Failed { step, why }) => {
                let (why, answers) = match cancel {
                    Some(cancel) => (Some(cancel.why), cancel.answers),
                    None => (why, vec![]),
                };
                let steps = step.back().into_iter().filter(|done| *done < step).collect();
                self.undo(ticket, why, answers, steps, step)
            }
            // The step under way fails by it, and says so: the guest's own words may be on the wire.
            (p @ Phase::Creating { .. }, R::Exited { exit, oom }) => {
                self.gone = Some((exit, oom));
                (Some(p), vec![])
            }
            (
                Phase::Undoing { ticket, why, answers, undo: Undo::AfterExit { steps, poststop } },
                R::Exited { exit, oom },
            ) => {
                self.gone = Some((exit, oom));
                let phase = Phase::Undoing { ticket, why, answers, undo: Undo::UnderWay };
                (Some(phase), vec![Effect::Undo { id: self.id.clone(), steps, poststop }])
            }
            (Phase::Undoing { ticket, why, answers, undo: Undo::UnderWay }, R::Undone) => {
                let why = why.unwrap_or_else(|| self.ended_early());
                let mut effects = vec![reply(ticket, Answer::Denied(why))];
                effects.extend(answers.into_iter().map(|(ticket, answer)| reply(ticket, answer)));
                (None, effects)
            }
            // The kernel reports an exit once, and nothing else is under way.
            (
                p @ Phase::Undoing { .. },
                R::Exited { .. } | R::Done { .. } | R::Failed { .. } | R::Undone,
            ) => (Some(p), vec![]),

            (Phase::Starting, R::Exited { exit, oom }) => {
                self.gone = Some((exit, oom));
                (Some(Phase::Starting), vec![])
            }
            (Phase::Starting, R::Released { failure }) => self.released(failure),
            (Phase::Created | Phase::Running | Phase::Paused, R::Exited { exit, oom }) => {
                let mut effects = vec![];
                let phase = self.ended(exit, oom, &mut effects);
                (Some(phase), effects)
            }
            (Phase::Deleting { ticket, also, stage: Stage::Kill }, R::Exited { exit, oom }) => {
                let mut effects = vec![];
                if self.has_live_execs() {
                    self.gone = Some((exit, oom));
                    self.end_execs(&mut effects);
                    let stage = Stage::Kill;
                    return (Some(Phase::Deleting { ticket, also, stage }), effects);
                }
                self.tell_exit(exit, &mut effects);
                let stage = self.drain(exit, &mut effects);
                (Some(Phase::Deleting { ticket, also, stage }), effects)
            }
            (
                Phase::Deleting { ticket, also, stage: Stage::Drain { exit } },
                R::Drained | R::DrainDeadline,
            ) => {
                let undo =
                    Effect::Undo { id: self.id.clone(), steps: Step::Ready.back(), poststop: true };
                (Some(Phase::Deleting { ticket, also, stage: Stage::Undo { exit } }), vec![undo])
            }
            (Phase::Deleting { ticket, also, stage: Stage::Undo { exit } }, R::Undone) => {
                (None, self.deleted(ticket, also, exit))
            }

            (p, R::Oom) => {
                let mut effects = vec![];
                if matches!(
                    p,
                    Phase::Created
                        | Phase::Starting
                        | Phase::Running
                        | Phase::Paused
                        | Phase::Ending { .. }
                ) {
                    self.publish_oom(&mut effects);
                }
                (Some(p), effects)
            }
            (p, R::Poststarted { failure }) => self.poststarted(p, failure),
            (p, R::Frozen { ticket, failure }) => self.frozen(p, ticket, failure),
            (p, R::Thawed { ticket, failure }) => self.thawed(p, ticket, failure),

            (p, R::ExecStarted { exec, pid }) => self.exec_started(p, &exec, pid),
            (p, R::ExecFailed { exec, why }) => self.exec_failed(p, &exec, why),
            (p, R::ExecExited { exec, exit }) => self.exec_exited(p, &exec, exit),

            // Late or twice, and nothing to do with the phase: a timer that was not taken back, an
            // exit seen again, the end of a drain after its deadline.
            (
                p @ (Phase::Ending { .. } | Phase::Stopped { .. } | Phase::Deleting { .. }),
                R::Exited { .. },
            ) => (Some(p), vec![]),
            (
                p @ (Phase::Created
                | Phase::Starting
                | Phase::Running
                | Phase::Paused
                | Phase::Ending { .. }
                | Phase::Stopped { .. }
                | Phase::Deleting { .. }),
                R::Done { .. } | R::Failed { .. } | R::Undone,
            ) => (Some(p), vec![]),
            (p, R::Drained | R::DrainDeadline | R::Released { .. }) => (Some(p), vec![]),
            (p @ Phase::Creating { .. }, R::Undone) => (Some(p), vec![]),
        }
    }

    fn created(&mut self, ticket: Ticket) -> Next {
        let pid = self.known_pid();
        let creation = Box::new(self.creation.clone());
        let notice = Notice::Create { id: self.id.clone(), pid, creation };
        let mut effects = vec![Effect::Publish { notice }, reply(ticket, Answer::Pid(pid))];
        let phase = match self.gone.take() {
            Some((exit, oom)) => self.ended(exit, oom, &mut effects),
            None => Phase::Created,
        };
        (Some(phase), effects)
    }

    /// The start is told before the end, however soon that came.
    fn released(&mut self, failure: Option<Denied>) -> Next {
        let (mut effects, phase) = match (failure, self.starting) {
            (None, _) => {
                self.started = true;
                let start = Notice::Start { id: self.id.clone(), pid: self.known_pid() };
                let hooks = Effect::Poststart { id: self.id.clone() };
                (vec![Effect::Publish { notice: start }, hooks], Phase::Running)
            }
            // It may be started again, or deleted.
            (Some(why), starting) => {
                self.starting = None;
                let told = starting.map(|ticket| reply(ticket, Answer::Denied(why)));
                (told.into_iter().collect(), Phase::Created)
            }
        };
        let phase = match self.gone.take() {
            Some((exit, oom)) => self.ended(exit, oom, &mut effects),
            None => phase,
        };
        (Some(phase), effects)
    }

    fn undo(
        &mut self,
        ticket: Ticket,
        why: Option<Denied>,
        answers: Vec<(Ticket, Answer)>,
        steps: Vec<Step>,
        reached: Step,
    ) -> Next {
        let poststop = reached == Step::Ready;
        let (undo, effect) = match (self.pid, self.gone) {
            (Some(_), None) => (Undo::AfterExit { steps, poststop }, self.kill()),
            (Some(_), Some(_)) | (None, _) => {
                (Undo::UnderWay, Effect::Undo { id: self.id.clone(), steps, poststop })
            }
        };
        (Some(Phase::Undoing { ticket, why, answers, undo }), vec![effect])
    }

    fn ended_early(&self) -> Denied {
        let how = match self.gone {
            Some((_, true)) => "was killed by the kernel for want of memory".to_owned(),
            Some((exit, false)) => exit.ended.to_string(),
            None => "ended".to_owned(),
        };
        let sentence = format!("the guest process of task {} {how} while it was set up", self.id);
        Denied::new(Code::Unknown, sentence)
    }

    fn deleted(&mut self, ticket: Ticket, also: Vec<Ticket>, exit: Exit) -> Vec<Effect> {
        let (pid, exit) = (self.known_pid(), Some(exit));
        let mut effects = vec![];
        for (exec, gone) in std::mem::take(&mut self.execs) {
            gone.forgotten(&self.id, &exec, &mut effects);
        }
        if let Some(start) = self.starting.take() {
            effects.push(reply(start, Answer::Pid(pid)));
        }
        effects.push(Effect::Publish { notice: Notice::Delete { key: self.key(), pid, exit } });
        effects.push(reply(ticket, Answer::Deleted { pid, exit }));
        let gone = Denied::no_task(&self.id);
        effects.extend(also.into_iter().map(|t| reply(t, Answer::Denied(gone.clone()))));
        effects
    }

    fn poststarted(&mut self, phase: Phase, failure: Option<String>) -> Next {
        let Some(ticket) = self.starting.take() else { return (Some(phase), vec![]) };
        match failure {
            None => (Some(phase), vec![reply(ticket, Answer::Pid(self.known_pid()))]),
            // As runc does: the container is stopped, and Start says why.
            Some(why) => {
                let why = Denied::new(Code::Unknown, why);
                (Some(phase), vec![self.kill(), reply(ticket, Answer::Denied(why))])
            }
        }
    }

    fn frozen(&mut self, phase: Phase, ticket: Ticket, failure: Option<Denied>) -> Next {
        let id = self.id.clone();
        self.freezing = self.freezing.saturating_sub(1);
        match (phase, failure) {
            (p, Some(why)) => (Some(p), vec![reply(ticket, Answer::Denied(why))]),
            (Phase::Running, None) => (
                Some(Phase::Paused),
                vec![
                    Effect::Publish { notice: Notice::Paused { id } },
                    reply(ticket, Answer::Empty),
                ],
            ),
            (Phase::Paused, None) => (Some(Phase::Paused), vec![reply(ticket, Answer::Empty)]),
            (p, None) => (
                Some(p),
                vec![Effect::Wake { id }, reply(ticket, Answer::Denied(Denied::finished()))],
            ),
        }
    }

    fn thawed(&mut self, phase: Phase, ticket: Ticket, failure: Option<Denied>) -> Next {
        match (phase, failure) {
            (p, Some(why)) => (Some(p), vec![reply(ticket, Answer::Denied(why))]),
            (Phase::Paused, None) => {
                let notice = Notice::Resumed { id: self.id.clone() };
                let effects = vec![Effect::Publish { notice }, reply(ticket, Answer::Empty)];
                (Some(Phase::Running), effects)
            }
            (p, None) => (Some(p), vec![reply(ticket, Answer::Empty)]),
        }
    }
}
