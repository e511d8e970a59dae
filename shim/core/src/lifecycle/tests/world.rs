//! A world for the ledger to live in: it remembers what is under way, and lets it come about.

use std::fmt::Write as _;

use crate::lifecycle::*;

pub(super) const ID: &str = "c";
pub(super) const POD: &str = "p";

/// The ledger and everything that its effects have set going.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) tickets: Ticket,
    pub(super) step: Option<Step>,
    pub(super) held: Vec<Step>,
    pub(super) undoing: Option<Vec<Step>>,
    pub(super) guest: bool,
    pub(super) killed: bool,
    pub(super) aborted: bool,
    pub(super) releasing: bool,
    pub(super) poststart: bool,
    pub(super) draining: bool,
    pub(super) deadline: bool,
    pub(super) freezing: Vec<Ticket>,
    pub(super) thawing: Vec<Ticket>,
    pub(super) starting_execs: Vec<String>,
    pub(super) execs: Vec<String>,
    pub(super) log: Vec<Effect>,
    pub(super) left: bool,
    pub(super) holding: bool,
    pub(super) held_by: Option<u32>,
    pub(super) letting_go: bool,
    pub(super) shut_down: bool,
    /// Whether calls about a sandbox happen.
    pub(super) has_pods: bool,
}

impl World {
    pub(super) fn called(&mut self, call: Call) -> Vec<Effect> {
        self.tickets += 1;
        let ticket = self.tickets;
        match self.ledger.step(Event::Called { ticket, call }) {
            Ok(effects) => self.carry_out(effects),
            Err(denied) => {
                let answer = Answer::Denied(denied);
                self.carry_out(vec![Effect::Reply { ticket, answer }])
            }
        }
    }

    pub(super) fn task(&mut self, call: TaskCall) -> Vec<Effect> {
        self.called(Call::Task { id: ID.into(), call })
    }

    pub(super) fn exec(&mut self, exec: &str, call: ExecCall) -> Vec<Effect> {
        self.called(Call::Exec { id: ID.into(), exec: exec.into(), call })
    }

    pub(super) fn reported(&mut self, report: Report) -> Vec<Effect> {
        let event = Event::Reported { id: ID.into(), report };
        let effects = self.ledger.step(event).expect("a report is never denied");
        self.carry_out(effects)
    }

    pub(super) fn pod(&mut self, call: PodCall) -> Vec<Effect> {
        self.shut_down |= call == PodCall::Shutdown;
        self.called(Call::Pod { id: POD.into(), call })
    }

    pub(super) fn of_pod(&mut self, report: PodReport) -> Vec<Effect> {
        match report {
            PodReport::Held { pid, .. } => (self.holding, self.held_by) = (false, Some(pid)),
            PodReport::HoldFailed { .. } => self.holding = false,
            PodReport::LetGone { .. } => (self.letting_go, self.held_by) = (false, None),
            PodReport::Ended { .. } => {}
        }
        let effects = self.ledger.step(Event::OfPod { report }).expect("a report is never denied");
        self.carry_out(effects)
    }

    pub(super) fn done(&mut self) -> Vec<Effect> {
        let step = self.step.take().expect("a step is under way");
        self.held.push(step);
        let pid = (step == Step::Guest).then_some(7);
        self.guest |= pid.is_some();
        self.reported(Report::Done { step, pid })
    }

    pub(super) fn failed(&mut self, why: Option<&str>) -> Vec<Effect> {
        let step = self.step.take().expect("a step is under way");
        let why = why.map(|why| Denied::new(Code::InvalidArgument, why));
        self.reported(Report::Failed { step, why })
    }

    pub(super) fn exited(&mut self, ended: Ended, oom: bool) -> Vec<Effect> {
        self.guest = false;
        self.reported(Report::Exited { exit: exit(ended), oom })
    }

    pub(super) fn released(&mut self, failure: Option<&str>) -> Vec<Effect> {
        self.releasing = false;
        let failure = failure.map(|why| Denied::new(Code::Unknown, why));
        self.reported(Report::Released { failure })
    }

    pub(super) fn undone(&mut self) -> Vec<Effect> {
        let steps = self.undoing.take().expect("something is being undone");
        for step in steps {
            self.held.retain(|held| *held != step);
        }
        // As the shim does it: timers of a task end with it.
        (self.deadline, self.draining, self.poststart) = (false, false, false);
        let effects = self.reported(Report::Undone);
        (self.killed, self.aborted) = (false, false);
        effects
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        for effect in &effects {
            match effect.clone() {
                Effect::Take { step, .. } => self.step = Some(step),
                Effect::Abort { .. } => self.aborted = true,
                Effect::Undo { steps, .. } => self.undoing = Some(steps),
                Effect::Release { .. } => self.releasing = true,
                Effect::Poststart { .. } => self.poststart = true,
                Effect::Signal { key, signal: 9 } if key.exec.is_none() => self.killed = true,
                Effect::SignalAll { signal: 9, .. } => self.killed = true,
                Effect::Freeze { ticket, .. } => self.freezing.push(ticket),
                Effect::Thaw { ticket, .. } => self.thawing.push(ticket),
                Effect::StartExec { key } => self.starting_execs.extend(key.exec),
                Effect::Drain { .. } => self.draining = true,
                Effect::Deadline { .. } => self.deadline = true,
                Effect::Leave => self.left = true,
                Effect::Signal { .. }
                | Effect::SignalAll { .. }
                | Effect::Wake { .. }
                | Effect::AddExec { .. }
                | Effect::AbortExec { .. }
                | Effect::ForgetExec { .. }
                | Effect::CloseStdin { .. }
                | Effect::Publish { .. }
                | Effect::Reply { .. }
                | Effect::ReplyPids { .. }
                | Effect::ReplyStats { .. }
                | Effect::ReplyUpdate { .. }
                | Effect::ReplyResize { .. }
                | Effect::ReplyPodStats { .. } => {}
                Effect::Hold { .. } => self.holding = true,
                Effect::LetGo { .. } => self.letting_go = true,
            }
        }
        self.log.extend(effects.iter().cloned());
        effects
    }
}

pub(super) fn exit(ended: Ended) -> Exit {
    Exit { ended, at: Time { seconds: 1, nanos: 0 } }
}

pub(super) fn show(effects: &[Effect]) -> String {
    let mut line = String::new();
    for effect in effects {
        let _ = match effect {
            Effect::Take { step, .. } => write!(line, " {step:?}…"),
            Effect::Undo { steps, poststop, .. } => {
                let hooks = if *poststop { " poststop" } else { "" };
                write!(line, " undo{steps:?}{hooks}")
            }
            Effect::Signal { key, signal } => write!(line, " signal{}:{signal}", of(key)),
            Effect::SignalAll { signal, .. } => write!(line, " signal-all:{signal}"),
            Effect::AddExec { key, .. } => write!(line, " add{}", of(key)),
            Effect::StartExec { key } => write!(line, " start{}…", of(key)),
            Effect::ForgetExec { key } => write!(line, " forget{}", of(key)),
            Effect::CloseStdin { key } => write!(line, " close-stdin{}", of(key)),
            Effect::Publish { notice } => write!(line, " {}", notice_name(notice)),
            Effect::Reply { ticket, answer } => write!(line, " {ticket}={}", answer_name(answer)),
            Effect::ReplyPids { ticket, .. } => write!(line, " {ticket}=pids"),
            Effect::ReplyStats { ticket, .. } => write!(line, " {ticket}=stats"),
            Effect::ReplyUpdate { ticket, .. } => write!(line, " {ticket}=update"),
            Effect::ReplyResize { ticket, .. } => write!(line, " {ticket}=resize"),
            Effect::Abort { .. } => write!(line, " abort"),
            Effect::AbortExec { key } => write!(line, " abort{}", of(key)),
            Effect::Release { .. } => write!(line, " release…"),
            Effect::Poststart { .. } => write!(line, " poststart…"),
            Effect::Freeze { .. } => write!(line, " freeze…"),
            Effect::Thaw { .. } => write!(line, " thaw…"),
            Effect::Wake { .. } => write!(line, " wake"),
            Effect::Drain { .. } => write!(line, " drain…"),
            Effect::Deadline { .. } => write!(line, " deadline…"),
            Effect::Hold { .. } => write!(line, " hold…"),
            Effect::LetGo { .. } => write!(line, " let-go…"),
            Effect::ReplyPodStats { ticket } => write!(line, " {ticket}=stats"),
            Effect::Leave => write!(line, " leave"),
        };
    }
    line
}

fn of(key: &Key) -> String {
    key.exec.as_ref().map(|exec| format!("({exec})")).unwrap_or_default()
}

fn notice_name(notice: &Notice) -> String {
    match notice {
        Notice::Create { pid, .. } => format!("Create({pid})"),
        Notice::Start { .. } => "Start".into(),
        Notice::Exit { key, exit, .. } => format!("Exit{}:{}", of(key), exit.ended.status()),
        Notice::Delete { .. } => "Delete".into(),
        Notice::Oom { .. } => "OOM".into(),
        Notice::Paused { .. } => "Paused".into(),
        Notice::Resumed { .. } => "Resumed".into(),
        Notice::ExecAdded { exec, .. } => format!("ExecAdded({exec})"),
        Notice::ExecStarted { exec, .. } => format!("ExecStarted({exec})"),
    }
}

fn answer_name(answer: &Answer) -> String {
    match answer {
        Answer::Empty => "ok".into(),
        Answer::Pid(pid) => format!("pid({pid})"),
        Answer::Connected(pid) => format!("connected({pid})"),
        Answer::State(snapshot) => {
            let exit = snapshot.exit.map(|e| format!(" {}", e.ended.status())).unwrap_or_default();
            format!("{:?}{exit}", snapshot.status)
        }
        Answer::Exit(exit) => format!("exit({})", exit.ended.status()),
        Answer::Deleted { exit, .. } => match exit {
            Some(exit) => format!("deleted({})", exit.ended.status()),
            None => "deleted".into(),
        },
        Answer::Pod(PodSnapshot { pid, ready, exit, .. }) => {
            let exit = exit.map(|e| format!(" {}", e.ended.status())).unwrap_or_default();
            format!("{}({pid}){exit}", if *ready { "ready" } else { "not-ready" })
        }
        Answer::Denied(denied) => format!("{:?}({denied})", denied.code),
    }
}
