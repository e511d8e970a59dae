//! What containerd may ask of a task, phase by phase.

use super::effect::{Answer, Effect, Notice, Status};
use super::event::{Stdio, TaskCall};
use super::exec::Exec;
use super::task::{Cancel, KILL, Next, Phase, Stage, Task, check_signal, is_deadly, reply};
use super::{Code, Denied, Key, Ticket};

impl Task {
    pub(super) fn call(&mut self, ticket: Ticket, call: TaskCall) -> Result<Next, Denied> {
        use TaskCall as C;
        let id = self.id.clone();
        let phase = self.phase.clone();
        let stay = |phase: Phase, effect: Effect| Ok((Some(phase), vec![effect]));
        match (phase, call) {
            (p @ (Phase::Creating { .. } | Phase::Undoing { .. }), call) => {
                self.call_unborn(p, ticket, call)
            }
            (p, C::State) => {
                let (status, exit) = self.told();
                stay(p, reply(ticket, self.snapshot(status, exit)))
            }
            (p, C::Wait) => match self.told() {
                (_, Some(exit)) => stay(p, reply(ticket, Answer::Exit(exit))),
                (_, None) => {
                    self.waiters.push(ticket);
                    Ok((Some(p), vec![]))
                }
            },
            (p, C::Kill { signal, all }) => {
                check_signal(signal)?;
                self.kill_called(p, ticket, signal, all)
            }
            (p, C::Pids) => stay(p, Effect::ReplyPids { ticket, id }),
            (p, C::Stats) => stay(p, Effect::ReplyStats { ticket, id }),
            (p, C::CloseStdin) => Ok((
                Some(p),
                vec![Effect::CloseStdin { key: self.key() }, reply(ticket, Answer::Empty)],
            )),
            (p, C::Resize) => stay(p, Effect::ReplyResize { ticket, key: self.key() }),
            (p, C::Start) => self.start_called(p, ticket),
            (p, C::Delete) => self.delete_called(p, ticket),
            (p, C::Pause) => self.pause_called(p, ticket),
            (p, C::Resume) => self.resume_called(p, ticket),
            (p, C::Update) => self.update_called(p, ticket),
            (p, C::Exec { exec, stdio }) => self.exec_called(p, ticket, exec, stdio),
            (_, C::Checkpoint) => Err(Denied::new(
                Code::Unimplemented,
                "checkpoint is not supported: CRIU cannot bring back a Wasm guest",
            )),
        }
    }

    fn start_called(&mut self, phase: Phase, ticket: Ticket) -> Result<Next, Denied> {
        match phase {
            Phase::Created => {
                self.starting = Some(ticket);
                Ok((Some(Phase::Starting), vec![Effect::Release { id: self.id.clone() }]))
            }
            Phase::Starting | Phase::Running | Phase::Ending { .. } => {
                Err(Denied::state("start", "running"))
            }
            Phase::Paused => Err(Denied::state("start", "paused")),
            Phase::Stopped { .. } | Phase::Deleting { .. } => {
                Err(Denied::state("start", "stopped"))
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn delete_called(&mut self, phase: Phase, ticket: Ticket) -> Result<Next, Denied> {
        match phase {
            Phase::Created => {
                let phase = Phase::Deleting { ticket, also: vec![], stage: Stage::Kill };
                Ok((Some(phase), vec![self.kill()]))
            }
            Phase::Starting | Phase::Running | Phase::Ending { .. } => {
                Err(Denied::state("delete", "running"))
            }
            Phase::Paused => Err(Denied::state("delete", "paused")),
            Phase::Stopped { exit } => {
                let mut effects = vec![];
                let stage = self.drain(exit, &mut effects);
                Ok((Some(Phase::Deleting { ticket, also: vec![], stage }), effects))
            }
            // Told that it is not found only when it is: containerd removes the bundle then.
            Phase::Deleting { ticket: first, mut also, stage } => {
                also.push(ticket);
                Ok((Some(Phase::Deleting { ticket: first, also, stage }), vec![]))
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn pause_called(&mut self, phase: Phase, ticket: Ticket) -> Result<Next, Denied> {
        match phase {
            Phase::Running => {
                self.pausing.push(ticket);
                let mut effects = vec![];
                self.freeze_when_execs_stand(&mut effects);
                Ok((Some(phase), effects))
            }
            Phase::Created | Phase::Starting => Err(Denied::state("pause", "created")),
            Phase::Paused => Err(Denied::state("pause", "paused")),
            // Not NotFound, which would say that all is well to who only wants it quiet.
            Phase::Ending { .. } | Phase::Stopped { .. } | Phase::Deleting { .. } => {
                Err(Denied::state("pause", "stopped"))
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn resume_called(&self, phase: Phase, ticket: Ticket) -> Result<Next, Denied> {
        match phase {
            Phase::Paused => Ok((Some(phase), vec![Effect::Thaw { ticket, id: self.id.clone() }])),
            Phase::Created | Phase::Starting => Err(Denied::state("resume", "created")),
            Phase::Running => Err(Denied::state("resume", "running")),
            Phase::Ending { .. } | Phase::Stopped { .. } | Phase::Deleting { .. } => {
                Err(Denied::state("resume", "stopped"))
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn update_called(&self, phase: Phase, ticket: Ticket) -> Result<Next, Denied> {
        match phase {
            Phase::Created | Phase::Starting | Phase::Running | Phase::Paused => {
                Ok((Some(phase), vec![Effect::ReplyUpdate { ticket, id: self.id.clone() }]))
            }
            Phase::Ending { .. } | Phase::Stopped { .. } | Phase::Deleting { .. } => {
                Err(Denied::state("update", "stopped"))
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn exec_called(
        &mut self,
        phase: Phase,
        ticket: Ticket,
        exec: String,
        stdio: Stdio,
    ) -> Result<Next, Denied> {
        match phase {
            // As long as the end of init is not told, it is no reason to refuse: the task says it runs
            // (containerd's integration test for issue 10589). The exec's start will fail.
            Phase::Created | Phase::Starting | Phase::Running | Phase::Ending { .. } => {}
            Phase::Paused => return Err(Denied::state("exec in", "paused")),
            Phase::Stopped { .. } | Phase::Deleting { .. } => {
                return Err(Denied::state("exec in", "stopped"));
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => {
                return Err(Denied::no_task(&self.id));
            }
        }
        let id = self.id.clone();
        if self.execs.contains_key(&exec) {
            let sentence = format!("exec {exec} of task {id} exists already");
            return Err(Denied::new(Code::AlreadyExists, sentence));
        }
        self.execs.insert(exec.clone(), Exec::new(stdio.clone()));
        Ok((
            Some(phase),
            vec![
                Effect::AddExec { key: Key::exec(&id, &exec), stdio },
                Effect::Publish { notice: Notice::ExecAdded { id, exec } },
                reply(ticket, Answer::Empty),
            ],
        ))
    }

    /// Nothing is there yet, or nothing any more. Only the wish to be rid of it is heard.
    fn call_unborn(
        &mut self,
        phase: Phase,
        ticket: Ticket,
        call: TaskCall,
    ) -> Result<Next, Denied> {
        let (why, answer) = match call {
            TaskCall::Kill { signal, .. } => {
                check_signal(signal)?;
                if !is_deadly(signal) {
                    return Ok((Some(phase), vec![reply(ticket, Answer::Empty)]));
                }
                let why =
                    format!("task {} was killed by signal {signal} while it was created", self.id);
                (Denied::new(Code::FailedPrecondition, why), Answer::Empty)
            }
            // containerd deletes what it gave up creating (`core/runtime/v2/task_manager.go`, Create).
            TaskCall::Delete => {
                let why = format!("task {} was deleted while it was created", self.id);
                (
                    Denied::new(Code::FailedPrecondition, why),
                    Answer::Denied(Denied::no_task(&self.id)),
                )
            }
            TaskCall::Start
            | TaskCall::State
            | TaskCall::Wait
            | TaskCall::Pids
            | TaskCall::Stats
            | TaskCall::CloseStdin
            | TaskCall::Resize
            | TaskCall::Pause
            | TaskCall::Resume
            | TaskCall::Update
            | TaskCall::Checkpoint
            | TaskCall::Exec { .. } => return Err(Denied::no_task(&self.id)),
        };
        match phase {
            Phase::Creating { ticket: create, step, cancel } => {
                let first = cancel.is_none();
                let mut cancel = cancel.unwrap_or(Cancel { why, answers: vec![] });
                cancel.answers.push((ticket, answer));
                let effects =
                    if first { vec![Effect::Abort { id: self.id.clone() }] } else { vec![] };
                Ok((Some(Phase::Creating { ticket: create, step, cancel: Some(cancel) }), effects))
            }
            Phase::Undoing { ticket: create, why, mut answers, undo } => {
                answers.push((ticket, answer));
                Ok((Some(Phase::Undoing { ticket: create, why, answers, undo }), vec![]))
            }
            Phase::Created
            | Phase::Starting
            | Phase::Running
            | Phase::Paused
            | Phase::Ending { .. }
            | Phase::Stopped { .. }
            | Phase::Deleting { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    fn kill_called(
        &mut self,
        phase: Phase,
        ticket: Ticket,
        signal: u32,
        all: bool,
    ) -> Result<Next, Denied> {
        let id = self.id.clone();
        let answered = reply(ticket, Answer::Empty);
        let send = |signal| match all {
            true => Effect::SignalAll { id: id.clone(), signal },
            false => Effect::Signal { key: self.key(), signal },
        };
        match phase {
            // A parked guest has not begun to listen: whatever would end it, ends it at once.
            Phase::Created if is_deadly(signal) => {
                Ok((Some(Phase::Created), vec![send(KILL), answered]))
            }
            Phase::Created => Ok((Some(Phase::Created), vec![answered])),
            Phase::Starting | Phase::Running | Phase::Paused if signal == 0 => {
                Ok((Some(phase), vec![answered]))
            }
            // On cgroup v1 a frozen process doesn't even die (runc, `libcontainer/container_linux.go`).
            Phase::Paused if signal == KILL => Ok((
                Some(Phase::Running),
                vec![send(signal), Effect::Wake { id: id.clone() }, answered],
            )),
            Phase::Starting | Phase::Running | Phase::Paused => {
                Ok((Some(phase), vec![send(signal), answered]))
            }
            Phase::Ending { .. } if all => Ok((Some(phase), vec![send(signal), answered])),
            Phase::Ending { .. } | Phase::Stopped { .. } | Phase::Deleting { .. } => {
                Err(Denied::finished())
            }
            Phase::Creating { .. } | Phase::Undoing { .. } => Err(Denied::no_task(&self.id)),
        }
    }

    /// What `State` and `Wait` tell.
    fn told(&self) -> (Status, Option<super::Exit>) {
        match self.phase {
            Phase::Creating { .. } | Phase::Undoing { .. } | Phase::Created | Phase::Starting => {
                (Status::Created, None)
            }
            // It ends without ever having run, and its execs are not told to have ended yet.
            Phase::Ending { .. } if !self.started => (Status::Created, None),
            Phase::Running | Phase::Ending { .. } => (Status::Running, None),
            Phase::Paused => (Status::Paused, None),
            Phase::Stopped { exit } => (Status::Stopped, Some(exit)),
            Phase::Deleting { stage, .. } => match stage {
                Stage::Kill => (Status::Created, None),
                Stage::Drain { exit } | Stage::Undo { exit } => (Status::Stopped, Some(exit)),
            },
        }
    }
}
