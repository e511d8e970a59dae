//! One task: what is known of it, and the phases it goes through.

use std::collections::BTreeMap;

use super::effect::{Answer, Effect, Notice, Snapshot, Status};
use super::event::{Creation, Exit};
use super::exec::Exec;
use super::{Denied, Key, Step, Ticket};

/// What a step leads to. `None`: the task is gone.
pub(super) type Next = (Option<Phase>, Vec<Effect>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) creation: Creation,
    pub(super) phase: Phase,
    pub(super) pid: Option<u32>,
    pub(super) execs: BTreeMap<String, Exec>,
    pub(super) waiters: Vec<Ticket>,
    /// The call of `Start` while the guest is let go and while its hooks run.
    pub(super) starting: Option<Ticket>,
    /// The guest ended before it was created, or before it was started; whoever is told first has
    /// the other still to come.
    pub(super) gone: Option<(Exit, bool)>,
    pub(super) oom_told: bool,
    pub(super) started: bool,
    /// Calls of `Pause` that wait for execs to be started: a process that is born into a frozen cgroup gets no
    /// further, and who started it would wait until the task is resumed.
    pub(super) pausing: Vec<Ticket>,
    /// How many times the task is being frozen; no exec is started meanwhile.
    pub(super) freezing: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Creating {
        ticket: Ticket,
        step: Step,
        cancel: Option<Cancel>,
    },
    Undoing {
        ticket: Ticket,
        why: Option<Denied>,
        answers: Vec<(Ticket, Answer)>,
        undo: Undo,
    },
    Created,
    /// The guest is being let go; an end that comes first is told after the start.
    Starting,
    Running,
    Paused,
    Ending {
        exit: Exit,
    },
    Stopped {
        exit: Exit,
    },
    Deleting {
        ticket: Ticket,
        also: Vec<Ticket>,
        stage: Stage,
    },
}

/// Nobody wants the task that is being created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cancel {
    pub(super) why: Denied,
    pub(super) answers: Vec<(Ticket, Answer)>,
}

/// What a failed creation still has to go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// The guest has been killed and must end first.
    AfterExit {
        steps: Vec<Step>,
        poststop: bool,
    },
    UnderWay,
}

/// How far deleting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A parked guest has been killed and must end first.
    Kill,
    Drain {
        exit: Exit,
    },
    Undo {
        exit: Exit,
    },
}

impl Task {
    pub(super) fn new(id: &str, creation: Creation, ticket: Ticket) -> Task {
        Task {
            id: id.to_owned(),
            creation,
            phase: Phase::Creating { ticket, step: Step::Plan, cancel: None },
            pid: None,
            execs: BTreeMap::new(),
            waiters: Vec::new(),
            starting: None,
            gone: None,
            oom_told: false,
            started: false,
            pausing: Vec::new(),
            freezing: 0,
        }
    }

    pub(super) fn key(&self) -> Key {
        Key::init(&self.id)
    }

    pub(super) fn known_pid(&self) -> u32 {
        self.pid.unwrap_or(0)
    }

    pub(super) fn take(&self, step: Step) -> Effect {
        Effect::Take { id: self.id.clone(), step }
    }

    pub(super) fn kill(&self) -> Effect {
        Effect::Signal { key: self.key(), signal: KILL }
    }

    pub(super) fn publish_oom(&mut self, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.oom_told, true) {
            effects.push(Effect::Publish { notice: Notice::Oom { id: self.id.clone() } });
        }
    }

    pub(super) fn has_live_execs(&self) -> bool {
        self.execs.values().any(Exec::is_live)
    }

    /// The init process is gone: told at once, or when its execs are gone too.
    pub(super) fn ended(&mut self, exit: Exit, oom: bool, effects: &mut Vec<Effect>) -> Phase {
        if oom {
            self.publish_oom(effects);
        }
        let stopped = Denied::state("pause", "stopped");
        let pausing = self.pausing.drain(..);
        effects.extend(pausing.map(|ticket| reply(ticket, Answer::Denied(stopped.clone()))));
        if self.has_live_execs() {
            self.end_execs(effects);
            return Phase::Ending { exit };
        }
        self.tell_exit(exit, effects);
        Phase::Stopped { exit }
    }

    pub(super) fn tell_exit(&mut self, exit: Exit, effects: &mut Vec<Effect>) {
        let notice = Notice::Exit { key: self.key(), pid: self.known_pid(), exit };
        effects.push(Effect::Publish { notice });
        for ticket in self.waiters.drain(..) {
            effects.push(Effect::Reply { ticket, answer: Answer::Exit(exit) });
        }
    }

    /// The first half of deleting a task whose processes are gone.
    pub(super) fn drain(&self, exit: Exit, effects: &mut Vec<Effect>) -> Stage {
        effects.push(Effect::Drain { id: self.id.clone() });
        effects.push(Effect::Deadline { id: self.id.clone() });
        Stage::Drain { exit }
    }

    pub(super) fn snapshot(&self, status: Status, exit: Option<Exit>) -> Answer {
        Answer::State(Box::new(Snapshot {
            key: self.key(),
            bundle: self.creation.bundle.clone(),
            pid: self.known_pid(),
            status,
            stdio: self.creation.stdio.clone(),
            exit,
        }))
    }
}

pub(super) const KILL: u32 = 9;
const HIGHEST_SIGNAL: u32 = 64;

/// Whether a signal ends a process that has no handler for it (signal(7)).
pub(super) fn is_deadly(signal: u32) -> bool {
    // CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH; 0 only asks whether the process is there.
    !matches!(signal, 0 | 17..=22 | 23 | 28)
}

pub(super) fn check_signal(signal: u32) -> Result<(), Denied> {
    if signal > HIGHEST_SIGNAL {
        let sentence = format!("{signal} is no signal: the highest is {HIGHEST_SIGNAL}");
        return Err(Denied::new(super::Code::InvalidArgument, sentence));
    }
    Ok(())
}

pub(super) fn reply(ticket: Ticket, answer: Answer) -> Effect {
    Effect::Reply { ticket, answer }
}
