//! The sandbox of a pod where containerd asks for it by name (its Sandbox API), rather than for a container that does
//! nothing.
//!
//! ```text
//!  Create ──► Making ──Held──► Made ──Start──► Ready ──Stop, or what holds it ends──► Stopping ──LetGone──► Stopped
//!               │
//!               └─HoldFailed─► (gone)             Shutdown: lets go from wherever it is, and the shim leaves
//! ```
//!
//! What holds the pod's namespaces (a thread or a process) is not known here. The pod's containers are tasks like any
//! others: they outlive the sandbox if nobody stops them, since namespaces last as long as somebody is in them.

use super::effect::{Answer, Effect, PodSnapshot};
use super::event::{Ended, Exit, PodCall, PodReport, Time};
use super::task::reply;
use super::{Code, Denied, Ticket};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    id: String,
    phase: Phase,
    created: Time,
    waiters: Vec<Ticket>,
    /// Calls of `Stop` and `Shutdown` that wait until it is let go.
    stopping: Vec<Ticket>,
    /// The shim leaves once it is let go.
    leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Making { ticket: Ticket },
    Made { pid: u32 },
    Ready { pid: u32 },
    Stopping { ended: Ended },
    Stopped { exit: Exit },
}

/// What comes next, and whether there is a pod any more.
pub(super) struct Next {
    pub(super) effects: Vec<Effect>,
    pub(super) gone: bool,
}

impl From<Vec<Effect>> for Next {
    fn from(effects: Vec<Effect>) -> Next {
        Next { effects, gone: false }
    }
}

impl Pod {
    pub(super) fn new(id: String, ticket: Ticket) -> (Pod, Vec<Effect>) {
        let pod = Pod {
            id: id.clone(),
            phase: Phase::Making { ticket },
            created: Time::default(),
            waiters: vec![],
            stopping: vec![],
            leaving: false,
        };
        (pod, vec![Effect::Hold { id }])
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    pub(super) fn pid(&self) -> u32 {
        match self.phase {
            Phase::Made { pid } | Phase::Ready { pid } => pid,
            Phase::Making { .. } | Phase::Stopping { .. } | Phase::Stopped { .. } => 0,
        }
    }

    pub(super) fn call(&mut self, ticket: Ticket, call: PodCall) -> Result<Next, Denied> {
        use Phase as P;
        use PodCall as C;
        match (self.phase, call) {
            (_, C::Create) => {
                let sentence = format!("this shim has the sandbox {} already", self.id);
                Err(Denied::new(Code::AlreadyExists, sentence))
            }
            (P::Made { pid }, C::Start) => {
                self.phase = P::Ready { pid };
                Ok(vec![reply(ticket, self.snapshot())].into())
            }
            (P::Ready { .. }, C::Start) => Err(self.state("start", "is running already")),
            (P::Making { .. }, C::Start | C::Stop) => Err(self.state("use", "is still being made")),
            (P::Stopping { .. } | P::Stopped { .. }, C::Start) => {
                Err(self.state("start", "has been stopped"))
            }
            (_, C::Status) => Ok(vec![reply(ticket, self.snapshot())].into()),
            (_, C::Ping) => Ok(vec![reply(ticket, Answer::Empty)].into()),
            (_, C::Stats) => Ok(vec![Effect::ReplyPodStats { ticket }].into()),
            (P::Stopped { exit }, C::Wait) => Ok(vec![reply(ticket, Answer::Exit(exit))].into()),
            (_, C::Wait) => {
                self.waiters.push(ticket);
                Ok(vec![].into())
            }
            (P::Made { .. } | P::Ready { .. }, C::Stop | C::Shutdown) => {
                self.stopping.push(ticket);
                self.leaving |= call == C::Shutdown;
                Ok(self.let_go(Ended::Code(0)).into())
            }
            (P::Making { .. }, C::Shutdown) | (P::Stopping { .. }, C::Stop | C::Shutdown) => {
                self.stopping.push(ticket);
                self.leaving |= call == C::Shutdown;
                Ok(vec![].into())
            }
            (P::Stopped { .. }, C::Stop) => Ok(vec![reply(ticket, Answer::Empty)].into()),
            (P::Stopped { .. }, C::Shutdown) => {
                Ok(Next { effects: vec![reply(ticket, Answer::Empty), Effect::Leave], gone: true })
            }
        }
    }

    pub(super) fn report(&mut self, report: PodReport) -> Next {
        match (self.phase, report) {
            (Phase::Making { ticket }, PodReport::Held { pid, at }) => {
                self.created = at;
                self.phase = Phase::Made { pid };
                if !self.leaving {
                    return vec![reply(ticket, Answer::Empty)].into();
                }
                let mut effects = vec![reply(ticket, Answer::Denied(self.unwanted()))];
                effects.extend(self.let_go(Ended::Code(0)));
                effects.into()
            }
            // Nothing was left of it, and nothing is to be let go.
            (Phase::Making { ticket }, PodReport::HoldFailed { why }) => {
                let mut effects = vec![reply(ticket, Answer::Denied(why))];
                let gone = Denied::no_pod(&self.id);
                let waiters = self.waiters.drain(..);
                effects.extend(waiters.map(|t| reply(t, Answer::Denied(gone.clone()))));
                effects.extend(self.stopped());
                Next { effects, gone: true }
            }
            (Phase::Made { .. } | Phase::Ready { .. }, PodReport::Ended { ended }) => {
                self.let_go(ended).into()
            }
            (Phase::Stopping { ended }, PodReport::LetGone { at }) => {
                let exit = Exit { ended, at };
                self.phase = Phase::Stopped { exit };
                let waiters = self.waiters.drain(..);
                let mut effects: Vec<_> =
                    waiters.map(|ticket| reply(ticket, Answer::Exit(exit))).collect();
                effects.extend(self.stopped());
                Next { effects, gone: self.leaving }
            }
            // It ends because it is let go.
            (Phase::Stopping { .. } | Phase::Stopped { .. }, PodReport::Ended { .. })
            | (
                _,
                PodReport::Held { .. } | PodReport::HoldFailed { .. } | PodReport::LetGone { .. },
            )
            | (Phase::Making { .. }, PodReport::Ended { .. }) => vec![].into(),
        }
    }

    fn let_go(&mut self, ended: Ended) -> Vec<Effect> {
        self.phase = Phase::Stopping { ended };
        vec![Effect::LetGo { id: self.id.clone() }]
    }

    /// Whoever waits for its end hears of it.
    fn stopped(&mut self) -> Vec<Effect> {
        let told = self.stopping.drain(..).map(|ticket| reply(ticket, Answer::Empty));
        told.chain(self.leaving.then_some(Effect::Leave)).collect()
    }

    fn snapshot(&self) -> Answer {
        let exit = match self.phase {
            Phase::Stopped { exit } => Some(exit),
            Phase::Making { .. }
            | Phase::Made { .. }
            | Phase::Ready { .. }
            | Phase::Stopping { .. } => None,
        };
        Answer::Pod(PodSnapshot {
            pid: self.pid(),
            ready: matches!(self.phase, Phase::Ready { .. }),
            created: self.created,
            exit,
        })
    }

    fn state(&self, doing: &str, state: &str) -> Denied {
        let sentence = format!("cannot {doing} sandbox {}: it {state}", self.id);
        Denied::new(Code::FailedPrecondition, sentence)
    }

    fn unwanted(&self) -> Denied {
        self.state("make", "was shut down meanwhile")
    }
}
