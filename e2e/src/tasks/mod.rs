//! The calls of a task, asked of containerd or of a shim itself, with one set of words for both.
//!
//! containerd's `Tasks` API and a shim's `Task` service are the same calls in different messages. A test that
//! looks at both levels makes a [`Call`] and gets [`Told`] or [`Refused`], wherever it went.

mod daemon;
mod shim;

use std::path::PathBuf;

use containerd_client::types::Mount;

pub use crate::client::{Refused, Stdio};
pub use daemon::Daemon;
pub use shim::{Service, Shim};

/// What is asked of a task or of one of its execs.
#[derive(Clone, Debug)]
pub enum Call {
    Create(Creation),
    Start,
    State,
    Wait,
    Kill {
        signal: u32,
        all: bool,
    },
    Delete,
    Pids,
    Exec {
        /// The OCI process, as JSON.
        process: Vec<u8>,
        stdio: Stdio,
    },
    Resize {
        width: u32,
        height: u32,
    },
    CloseIo {
        stdin: bool,
    },
    Pause,
    Resume,
    /// OCI resources, as JSON.
    Update(Vec<u8>),
    Stats,
    Checkpoint(PathBuf),
    /// A shim's own.
    Connect,
    /// A shim's own.
    Shutdown,
}

/// What a task is made of.
#[derive(Clone, Debug, Default)]
pub struct Creation {
    /// containerd has its own idea of this and is not asked.
    pub bundle: PathBuf,
    pub rootfs: Vec<Mount>,
    /// Of [`crate::cgroups::RUNC_OPTIONS`]; containerd has them from the container.
    pub options: Option<Vec<u8>>,
    pub stdio: Stdio,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Told {
    Done,
    Pid(u32),
    State(State),
    Exit(Exit),
    /// Each with the id of the exec that it is, where that is said.
    Pids(Vec<(u32, Option<String>)>),
    /// The type of the metrics.
    Stats(String),
    Connected {
        shim: u32,
        task: u32,
    },
}

#[derive(Clone, Debug)]
pub struct State {
    pub id: String,
    pub pid: u32,
    pub status: Status,
    pub stdio: Stdio,
    pub exit_status: u32,
    /// Seconds since 1970; `None` where there is no time, or that before all times.
    pub exited_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Unknown,
    Created,
    Running,
    Stopped,
    Paused,
    Pausing,
}

impl Status {
    /// Both APIs number them alike (`api/types/task/task.proto`).
    fn from_number(number: i32) -> Status {
        match number {
            1 => Status::Created,
            2 => Status::Running,
            3 => Status::Stopped,
            4 => Status::Paused,
            5 => Status::Pausing,
            _ => Status::Unknown,
        }
    }
}

/// As `Wait` and `Delete` tell it; only the latter knows a pid.
#[derive(Clone, Debug)]
pub struct Exit {
    pub pid: Option<u32>,
    pub status: u32,
    pub exited_at: Option<i64>,
}

/// Go's zero time is a timestamp far before 1970.
fn some_time(seconds: i64) -> Option<i64> {
    (seconds > 0).then_some(seconds)
}

/// The id of an exec in `containerd.runc.v1.ProcessDetails`, whose one field it is.
fn exec_of_details(value: &[u8]) -> Option<String> {
    crate::client::first_string(value)
}

/// Whoever can be asked.
#[derive(Clone, Debug)]
pub enum Tasks {
    Daemon(Daemon),
    Shim(Shim),
}

impl Tasks {
    /// Asks about `task`, or about its exec where `exec` is not empty.
    pub fn ask(&self, task: &str, exec: &str, call: &Call) -> Result<Told, Refused> {
        match self {
            Tasks::Daemon(daemon) => daemon.ask(task, exec, call),
            Tasks::Shim(shim) => shim.ask(task, exec, call),
        }
    }
}
