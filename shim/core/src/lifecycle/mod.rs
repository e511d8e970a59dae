//! The state machine of the tasks of one shim.
//!
//! One [`Ledger`] holds every task of the shim and has one owner. What happens comes in as an
//! [`Event`]; what is to be done goes out as [`Effect`]s, in order; a call that is not allowed is
//! [`Denied`] with a code and a sentence. Nothing here knows how an effect is carried out: effects
//! that take time are carried out elsewhere and come back as reports.
//!
//! ```text
//!            Take(step)… Done       Start, Released      exit, no execs
//!  Create ──► Creating ────► Created ──► Starting ──► Running ──────────────► Stopped
//!               │              │  ▲ kill  │   │         │ ▲ ▲                   ▲  │
//!               │ failed,      │  └───────┴───┘ failed  │ │ └─ Resume ─ Paused  │  │ Delete
//!               │ kill, Delete │  exit                  │ └─── Pause ─►         │  ▼
//!               ▼              ├─────────────────►  Ending (init gone, ────────┘ Deleting ──► (gone)
//!            Undoing ──► (gone)│                            execs end)            ▲  kill, drain, undo
//!                              └──────────────── Delete ──────────────────────────┘
//! ```
//!
//! Rules that hold here and nowhere else (containerd spreads them over its service and six maps,
//! `cmd/containerd-shim-runc-v2/task/service.go`):
//! - `TaskStart` is published before `TaskExit` of the same process, `TaskOOM` before `TaskExit`.
//! - Each process that was created has exactly one `TaskExit`; init's is last, after its execs'.
//! - Everybody who waits is answered once, also when the task is deleted meanwhile.
//! - What fails while a task is created is undone in reverse, and only then answered.

mod call;
mod denied;
mod effect;
mod event;
mod exec;
mod ledger;
mod pod;
mod report;
mod task;

#[cfg(test)]
mod tests;

pub use denied::{Code, Denied};
pub use effect::{Answer, Effect, Notice, PodSnapshot, Snapshot, Status};
pub use event::{
    Call, Creation, Ended, Event, ExecCall, Exit, PodCall, PodReport, Report, RootMount, Stdio,
    TaskCall, Time,
};
pub use ledger::Ledger;

/// The number of an open call; each gets one answer.
pub type Ticket = u64;

/// A step of creating, in the order in which they are taken and the reverse of which they are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Read the spec and decide everything. Undone by forgetting what was decided.
    Plan,
    /// Mount the root file system.
    Rootfs,
    /// Find the program and its compiled code, compile it if it must be.
    Code,
    /// Make the control group.
    Cgroup,
    /// Start the guest process. Undone by killing it, which the ledger does before the others.
    Guest,
    /// Have the guest set itself up, run the hooks it asks for, and hear that it is ready.
    Ready,
}

impl Step {
    /// What comes after it; the last makes the task [`Created`](Status::Created).
    fn next(self) -> Option<Step> {
        match self {
            Step::Plan => Some(Step::Rootfs),
            Step::Rootfs => Some(Step::Code),
            Step::Code => Some(Step::Cgroup),
            Step::Cgroup => Some(Step::Guest),
            Step::Guest => Some(Step::Ready),
            Step::Ready => None,
        }
    }

    /// This step and those before it, the latest first: what to undo once it has been reached.
    fn back(self) -> Vec<Step> {
        let all = [Step::Plan, Step::Rootfs, Step::Code, Step::Cgroup, Step::Guest, Step::Ready];
        all.into_iter().rev().filter(|step| *step <= self).collect()
    }
}

/// A process of a task: its init or one of its execs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub task: String,
    pub exec: Option<String>,
}

impl Key {
    #[must_use]
    pub fn init(task: &str) -> Key {
        Key { task: task.to_owned(), exec: None }
    }

    #[must_use]
    pub fn exec(task: &str, exec: &str) -> Key {
        Key { task: task.to_owned(), exec: Some(exec.to_owned()) }
    }
}

/// Seconds that deleting waits for the last output to be read (as containerd's runc shim).
pub const DRAIN_SECONDS: u64 = 10;
