//! What happens: calls of containerd's, and reports of what was done or came about.

use std::fmt;

use super::{Denied, Step, Ticket};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// containerd calls, and waits for the answer to this ticket.
    Called { ticket: Ticket, call: Call },
    /// Something came about for a task.
    Reported { id: String, report: Report },
    /// Something came about for the pod's sandbox.
    OfPod { report: PodReport },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Create {
        id: String,
        creation: Creation,
    },
    Connect {
        id: String,
    },
    Shutdown,
    Task {
        id: String,
        call: TaskCall,
    },
    Exec {
        id: String,
        exec: String,
        call: ExecCall,
    },
    /// By the id of the sandbox.
    Pod {
        id: String,
        call: PodCall,
    },
}

/// A call about the sandbox of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCall {
    Create,
    Start,
    Status,
    Ping,
    Stats,
    Wait,
    Stop,
    /// Also of a sandbox that could not be made: the shim goes.
    Shutdown,
}

/// A call about a task as a whole or its init process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskCall {
    Start,
    State,
    Wait,
    Kill { signal: u32, all: bool },
    Delete,
    Pids,
    Stats,
    CloseStdin,
    Resize,
    Pause,
    Resume,
    Update,
    Checkpoint,
    Exec { exec: String, stdio: Stdio },
}

/// A call about one exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecCall {
    Start,
    State,
    Wait,
    Kill { signal: u32 },
    Delete,
    CloseStdin,
    Resize,
}

/// What a task is created from, as far as it is told again (`State`, `TaskCreate`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    pub bundle: String,
    pub stdio: Stdio,
    pub rootfs: Vec<RootMount>,
    /// A checkpoint to restore from: never honoured.
    pub checkpoint: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// A mount that containerd asks for under the root of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootMount {
    pub kind: String,
    pub source: String,
    pub target: String,
    pub options: Vec<String>,
}

/// What came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A step of creating is done; [`Step::Guest`] has a pid now.
    Done {
        step: Step,
        pid: Option<u32>,
    },
    /// A step of creating failed and left nothing of its own. Without a reason the guest just ended.
    Failed {
        step: Step,
        why: Option<Denied>,
    },
    /// The guest has been let go, or could not be.
    Released {
        failure: Option<Denied>,
    },
    /// Hooks after the start have run.
    Poststarted {
        failure: Option<String>,
    },
    /// The init process ended.
    Exited {
        exit: Exit,
        oom: bool,
    },
    /// The kernel killed something for want of memory.
    Oom,
    Frozen {
        ticket: Ticket,
        failure: Option<Denied>,
    },
    Thawed {
        ticket: Ticket,
        failure: Option<Denied>,
    },
    /// All output has been taken over.
    Drained,
    DrainDeadline,
    /// What was to be undone is undone.
    Undone,
    ExecStarted {
        exec: String,
        pid: u32,
    },
    ExecFailed {
        exec: String,
        why: Denied,
    },
    ExecExited {
        exec: String,
        exit: Exit,
    },
}

/// What came about for the pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodReport {
    /// Its namespaces are there, and this pid (or thread) is in them.
    Held { pid: u32, at: Time },
    /// They are not, and nothing is left of them.
    HoldFailed { why: Denied },
    /// What held them is gone by itself.
    Ended { ended: Ended },
    /// Nothing is held any more.
    LetGone { at: Time },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(u8),
    Signal(u8),
}

/// The rest of a sentence about the process.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "ended with code {code}"),
            Ended::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

impl Ended {
    /// As shells and containerd count: 128 and the signal's number.
    #[must_use]
    pub fn status(self) -> u32 {
        match self {
            Ended::Code(code) => u32::from(code),
            Ended::Signal(signal) => 128 + u32::from(signal),
        }
    }
}

/// The end of a process and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub ended: Ended,
    pub at: Time,
}

/// Since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    pub nanos: i32,
}
