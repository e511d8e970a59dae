//! The execs of a task: further processes in its sandbox, each with a small life of its own.
//!
//! ```text
//!  Exec ──► Added ──Start──► Starting ──► Running ──exit──► Stopped ──Delete──► (gone)
//!             │                  │ ▲
//!             │           failed │ │ Start
//!             │                  ▼ │
//!             │                 Failed ──────────────────────────────Delete──►
//!             └──────────────────────────────────────────────────────Delete──►
//! ```

use super::effect::{Answer, Effect, Notice, Snapshot, Status};
use super::event::{ExecCall, Exit, Stdio};
use super::task::{KILL, Next, Phase, Stage, Task, check_signal, reply};
use super::{Code, Denied, Key, Ticket};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exec {
    stdio: Stdio,
    phase: ExecPhase,
    waiters: Vec<Ticket>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ExecPhase {
    Added,
    Starting { ticket: Ticket },
    Running { pid: u32 },
    Failed { why: Denied },
    Stopped { pid: u32, exit: Exit },
}

impl Exec {
    pub(super) fn new(stdio: Stdio) -> Exec {
        Exec { stdio, phase: ExecPhase::Added, waiters: vec![] }
    }

    /// It has a process, or is about to.
    pub(super) fn is_live(&self) -> bool {
        match self.phase {
            ExecPhase::Starting { .. } | ExecPhase::Running { .. } => true,
            ExecPhase::Added | ExecPhase::Failed { .. } | ExecPhase::Stopped { .. } => false,
        }
    }

    fn is_starting(&self) -> bool {
        matches!(self.phase, ExecPhase::Starting { .. })
    }

    fn pid(&self) -> u32 {
        match self.phase {
            ExecPhase::Running { pid } | ExecPhase::Stopped { pid, .. } => pid,
            ExecPhase::Added | ExecPhase::Starting { .. } | ExecPhase::Failed { .. } => 0,
        }
    }

    /// Deleted, or its task is: who still waits for it hears that it is not there.
    pub(super) fn forgotten(self, id: &str, exec: &str, effects: &mut Vec<Effect>) {
        for ticket in self.waiters {
            effects.push(reply(ticket, Answer::Denied(Denied::no_exec(id, exec))));
        }
        effects.push(Effect::ForgetExec { key: Key::exec(id, exec) });
    }
}

impl Task {
    /// Only its own phase counts, but for starting, which needs a task whose init is there: the sandbox stands
    /// before init runs (containerd, `cmd/containerd-shim-runc-v2/process/init_state.go`, `createdState.Exec`).
    pub(super) fn call_exec(
        &mut self,
        ticket: Ticket,
        name: &str,
        call: ExecCall,
    ) -> Result<Vec<Effect>, Denied> {
        use ExecCall as C;
        use ExecPhase as P;
        let (id, key) = (self.id.clone(), Key::exec(&self.id, name));
        let standing = matches!(self.phase, Phase::Created | Phase::Starting | Phase::Running);
        let pausing = standing && (self.freezing > 0 || !self.pausing.is_empty());
        let paused = matches!(self.phase, Phase::Paused);
        let bundle = self.creation.bundle.clone();
        let Some(exec) = self.execs.get_mut(name) else { return Err(Denied::no_exec(&id, name)) };
        match (&exec.phase, call) {
            (P::Added | P::Failed { .. }, C::Start) if standing && !pausing => {
                exec.phase = P::Starting { ticket };
                Ok(vec![Effect::StartExec { key }])
            }
            (P::Added | P::Failed { .. }, C::Start) if paused || pausing => {
                Err(Denied::state("exec in", "paused"))
            }
            (P::Added | P::Failed { .. }, C::Start) => {
                Err(Denied::new(Code::FailedPrecondition, format!("task {id} is not running")))
            }
            (P::Starting { .. } | P::Running { .. }, C::Start) => {
                Err(Denied::state("start", "running"))
            }
            (P::Stopped { .. }, C::Start) => Err(Denied::state("start", "stopped")),

            (phase, C::State) => {
                let (status, exit) = match phase {
                    // As it was before it was to start (containerd,
                    // `cmd/containerd-shim-runc-v2/process/exec_state.go`, `execCreatedState.Start`).
                    P::Added | P::Starting { .. } | P::Failed { .. } => (Status::Created, None),
                    P::Running { .. } => (Status::Running, None),
                    P::Stopped { exit, .. } => (Status::Stopped, Some(*exit)),
                };
                // Whatever its own state (containerd, `process/exec.go`, `Status`).
                let status = if paused { Status::Paused } else { status };
                let (pid, stdio) = (exec.pid(), exec.stdio.clone());
                let snapshot = Snapshot { key, bundle, pid, status, stdio, exit };
                Ok(vec![reply(ticket, Answer::State(Box::new(snapshot)))])
            }
            (P::Stopped { exit, .. }, C::Wait) => Ok(vec![reply(ticket, Answer::Exit(*exit))]),
            (P::Failed { why }, C::Wait) => Err(why.clone()),
            (P::Added | P::Starting { .. } | P::Running { .. }, C::Wait) => {
                exec.waiters.push(ticket);
                Ok(vec![])
            }

            (P::Running { .. }, C::Kill { signal }) => {
                check_signal(signal)?;
                Ok(vec![Effect::Signal { key, signal }, reply(ticket, Answer::Empty)])
            }
            (P::Added | P::Starting { .. }, C::Kill { .. }) => {
                Err(Denied::new(Code::FailedPrecondition, "process not created"))
            }
            (P::Failed { .. } | P::Stopped { .. }, C::Kill { .. }) => Err(Denied::finished()),

            (P::Starting { .. } | P::Running { .. }, C::Delete) => {
                Err(Denied::state("delete", "running"))
            }
            (P::Added | P::Failed { .. } | P::Stopped { .. }, C::Delete) => {
                let Some(exec) = self.execs.remove(name) else { return Ok(vec![]) };
                let pid = exec.pid();
                let exit = match exec.phase {
                    P::Stopped { exit, .. } => Some(exit),
                    P::Added | P::Starting { .. } | P::Running { .. } | P::Failed { .. } => None,
                };
                let mut effects = vec![];
                exec.forgotten(&id, name, &mut effects);
                effects.push(reply(ticket, Answer::Deleted { pid, exit }));
                Ok(effects)
            }
            (_, C::CloseStdin) => {
                Ok(vec![Effect::CloseStdin { key }, reply(ticket, Answer::Empty)])
            }
            (P::Stopped { .. }, C::Resize) => Err(Denied::state("resize", "stopped")),
            (P::Added | P::Starting { .. } | P::Running { .. } | P::Failed { .. }, C::Resize) => {
                Ok(vec![Effect::ReplyResize { ticket, key }])
            }
        }
    }

    pub(super) fn exec_started(&mut self, phase: Phase, name: &str, pid: u32) -> Next {
        let id = self.id.clone();
        let Some(exec) = self.execs.get_mut(name) else { return (Some(phase), vec![]) };
        let ExecPhase::Starting { ticket } = exec.phase else { return (Some(phase), vec![]) };
        exec.phase = ExecPhase::Running { pid };
        let notice = Notice::ExecStarted { id: id.clone(), exec: name.to_owned(), pid };
        let mut effects = vec![Effect::Publish { notice }, reply(ticket, Answer::Pid(pid))];
        if matches!(phase, Phase::Ending { .. } | Phase::Deleting { .. }) {
            effects.push(Effect::Signal { key: Key::exec(&id, name), signal: KILL });
        }
        self.freeze_when_execs_stand(&mut effects);
        (Some(phase), effects)
    }

    pub(super) fn exec_failed(&mut self, phase: Phase, name: &str, why: Denied) -> Next {
        let Some(exec) = self.execs.get_mut(name) else { return (Some(phase), vec![]) };
        let ExecPhase::Starting { ticket } = exec.phase else { return (Some(phase), vec![]) };
        let waiters = std::mem::take(&mut exec.waiters);
        exec.phase = ExecPhase::Failed { why: why.clone() };
        let tickets = std::iter::once(ticket).chain(waiters);
        let mut effects = tickets.map(|t| reply(t, Answer::Denied(why.clone()))).collect();
        self.freeze_when_execs_stand(&mut effects);
        let phase = self.after_exec(phase, &mut effects);
        (Some(phase), effects)
    }

    pub(super) fn exec_exited(&mut self, phase: Phase, name: &str, exit: Exit) -> Next {
        let key = Key::exec(&self.id, name);
        let Some(exec) = self.execs.get_mut(name) else { return (Some(phase), vec![]) };
        let ExecPhase::Running { pid } = exec.phase else { return (Some(phase), vec![]) };
        exec.phase = ExecPhase::Stopped { pid, exit };
        let mut effects = vec![Effect::Publish { notice: Notice::Exit { key, pid, exit } }];
        let waiters = std::mem::take(&mut exec.waiters);
        effects.extend(waiters.into_iter().map(|t| reply(t, Answer::Exit(exit))));
        let phase = self.after_exec(phase, &mut effects);
        (Some(phase), effects)
    }

    /// Those that run are killed; those that wait for their code to be compiled need not go on.
    pub(super) fn end_execs(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::SignalAll { id: self.id.clone(), signal: KILL });
        for (name, exec) in &self.execs {
            if exec.is_starting() {
                effects.push(Effect::AbortExec { key: Key::exec(&self.id, name) });
            }
        }
    }

    /// Does what `Pause` waits for, unless an exec is half started.
    pub(super) fn freeze_when_execs_stand(&mut self, effects: &mut Vec<Effect>) {
        if self.execs.values().any(Exec::is_starting) {
            return;
        }
        self.freezing += self.pausing.len();
        let id = &self.id;
        let freeze = |ticket| Effect::Freeze { ticket, id: id.clone() };
        effects.extend(self.pausing.drain(..).map(freeze));
    }

    /// The last of them lets the exit of init be told.
    fn after_exec(&mut self, phase: Phase, effects: &mut Vec<Effect>) -> Phase {
        if self.has_live_execs() {
            return phase;
        }
        match (phase, self.gone) {
            (Phase::Ending { exit }, _) => {
                self.tell_exit(exit, effects);
                Phase::Stopped { exit }
            }
            (Phase::Deleting { ticket, also, stage: Stage::Kill }, Some((exit, _))) => {
                self.tell_exit(exit, effects);
                Phase::Deleting { ticket, also, stage: self.drain(exit, effects) }
            }
            (phase, _) => phase,
        }
    }
}
