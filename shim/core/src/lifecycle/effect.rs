//! What is to be done, as values.

use super::{Creation, Denied, Exit, Key, Stdio, Step, Ticket, Time};

/// One thing to do. Carried out in the order given; those marked *reports* come back as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take this step of creating. *Reports* `Done` or `Failed`.
    Take {
        id: String,
        step: Step,
    },
    /// Make the step under way fail soon: nobody wants the task any more.
    Abort {
        id: String,
    },
    /// Make the start of this exec fail soon: its task has ended.
    AbortExec {
        key: Key,
    },
    /// Undo these steps in this order, then run the `poststop` hooks if wanted. *Reports* `Undone`.
    Undo {
        id: String,
        steps: Vec<Step>,
        poststop: bool,
    },
    /// Let the parked guest run. *Reports* `Released`.
    Release {
        id: String,
    },
    /// Run the `poststart` hooks. *Reports* `Poststarted`.
    Poststart {
        id: String,
    },
    Signal {
        key: Key,
        signal: u32,
    },
    /// Signal every process of the task.
    SignalAll {
        id: String,
        signal: u32,
    },
    /// *Reports* `Frozen`.
    Freeze {
        ticket: Ticket,
        id: String,
    },
    /// *Reports* `Thawed`.
    Thaw {
        ticket: Ticket,
        id: String,
    },
    /// Let frozen processes take the signal that ends them. Nobody waits for it.
    Wake {
        id: String,
    },
    /// Keep what the exec was added with until it is started.
    AddExec {
        key: Key,
        stdio: Stdio,
    },
    /// *Reports* `ExecStarted` or `ExecFailed`.
    StartExec {
        key: Key,
    },
    ForgetExec {
        key: Key,
    },
    /// Wait for output that is under way. *Reports* `Drained`.
    Drain {
        id: String,
    },
    /// *Reports* `DrainDeadline` after [`super::DRAIN_SECONDS`].
    Deadline {
        id: String,
    },
    CloseStdin {
        key: Key,
    },
    Publish {
        notice: Notice,
    },
    Reply {
        ticket: Ticket,
        answer: Answer,
    },
    /// These look at the task and answer the ticket themselves.
    ReplyPids {
        ticket: Ticket,
        id: String,
    },
    ReplyStats {
        ticket: Ticket,
        id: String,
    },
    ReplyUpdate {
        ticket: Ticket,
        id: String,
    },
    ReplyResize {
        ticket: Ticket,
        key: Key,
    },
    /// Make the namespaces of the pod and hold them. *Reports* `Held` or `HoldFailed`, perhaps `Ended`.
    Hold {
        id: String,
    },
    /// Hold them no longer. *Reports* `LetGone`.
    LetGo {
        id: String,
    },
    ReplyPodStats {
        ticket: Ticket,
    },
    /// Nothing is left to do: publish what is still queued, and exit.
    Leave,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Empty,
    Pid(u32),
    /// The init's pid, 0 when there is none.
    Connected(u32),
    State(Box<Snapshot>),
    Exit(Exit),
    Deleted {
        pid: u32,
        exit: Option<Exit>,
    },
    Pod(PodSnapshot),
    Denied(Denied),
}

/// The sandbox of a pod as `Status` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodSnapshot {
    /// Who is in its namespaces; 0 when nobody is.
    pub pid: u32,
    pub ready: bool,
    pub created: Time,
    pub exit: Option<Exit>,
}

/// A process as `State` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub key: Key,
    pub bundle: String,
    pub pid: u32,
    pub status: Status,
    pub stdio: Stdio,
    pub exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

/// What containerd publishes to whoever subscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Create { id: String, pid: u32, creation: Box<Creation> },
    Start { id: String, pid: u32 },
    Exit { key: Key, pid: u32, exit: Exit },
    Delete { key: Key, pid: u32, exit: Option<Exit> },
    Oom { id: String },
    Paused { id: String },
    Resumed { id: String },
    ExecAdded { id: String, exec: String },
    ExecStarted { id: String, exec: String, pid: u32 },
}
