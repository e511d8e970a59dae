//! The conformance table: what a shim answers to which call in which state, what state follows and which events
//! are published. The reference is containerd's own shim for runc; `source` names the place that says so, below
//! `cmd/containerd-shim-runc-v2` of containerd 2.4 where nothing else is said.

mod create;
mod exec;
mod states;
mod streams;
mod task;

use crate::script::Level;

/// One container from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) given: Given,
    pub(crate) on: On,
    /// In the language of [`crate::script`].
    pub(crate) steps: &'static str,
    /// What the steps publish; those of the state they are taken in and of clearing up come by themselves.
    pub(crate) events: &'static str,
    pub(crate) source: &'static str,
}

/// At which levels a row is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Both,
    /// The calls are a shim's own, or containerd makes too much of them.
    Shim,
    Containerd,
}

impl On {
    pub(crate) fn includes(self, level: Level) -> bool {
        match self {
            On::Both => true,
            On::Shim => level == Level::Shim,
            On::Containerd => level == Level::Containerd,
        }
    }
}

/// The state that the steps start in, and what runs there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) state: State,
    /// A guest's name and its arguments.
    pub(crate) program: &'static str,
    pub(crate) stdin: bool,
    pub(crate) terminal: bool,
    /// Bytes of memory that it may have.
    pub(crate) memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A shim and no task.
    Nothing,
    Created,
    Running,
    Paused,
    /// By itself, with this code.
    Stopped(u32),
    /// By SIGKILL.
    Killed,
    Deleted,
}

pub(crate) const NOTHING: Given = Given::sleeping(State::Nothing);
pub(crate) const CREATED: Given = Given::sleeping(State::Created);
pub(crate) const RUNNING: Given = Given::sleeping(State::Running);
pub(crate) const PAUSED: Given = Given::sleeping(State::Paused);
pub(crate) const KILLED: Given = Given::sleeping(State::Killed);
pub(crate) const DELETED: Given = Given::sleeping(State::Deleted).runs("exit 0");
pub(crate) const STOPPED: Given = Given::sleeping(State::Stopped(7)).runs("exit 7");

impl Given {
    const fn sleeping(state: State) -> Given {
        Given { state, program: "sleep", stdin: false, terminal: false, memory: None }
    }

    pub(crate) const fn runs(mut self, program: &'static str) -> Given {
        self.program = program;
        self
    }

    pub(crate) const fn stdin(mut self) -> Given {
        self.stdin = true;
        self
    }

    pub(crate) const fn terminal(mut self) -> Given {
        self.terminal = true;
        self
    }

    pub(crate) const fn memory(mut self, bytes: u64) -> Given {
        self.memory = Some(bytes);
        self
    }

    /// What has been published when the state is reached.
    pub(crate) fn events(&self) -> String {
        match self.state {
            State::Nothing => String::new(),
            State::Created => "create".into(),
            State::Running => "create, start".into(),
            State::Paused => "create, start, paused".into(),
            State::Stopped(code) => format!("create, start, exit {code}"),
            State::Killed => "create, start, exit 137".into(),
            State::Deleted => "create, start, exit 0, delete 0".into(),
        }
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state {
            State::Nothing => f.write_str("no task")?,
            State::Created => f.write_str("created")?,
            State::Running => f.write_str("running")?,
            State::Paused => f.write_str("paused")?,
            State::Stopped(code) => write!(f, "stopped with {code}")?,
            State::Killed => f.write_str("killed")?,
            State::Deleted => f.write_str("deleted")?,
        }
        if self.program != "sleep" {
            write!(f, ", `{}`", self.program)?;
        }
        let marks = [(self.stdin, ", stdin"), (self.terminal, ", terminal")];
        for (_, mark) in marks.into_iter().filter(|(is, _)| *is) {
            f.write_str(mark)?;
        }
        self.memory.map_or(Ok(()), |bytes| write!(f, ", {} MiB", bytes >> 20))
    }
}

/// All of it.
pub(crate) fn rows() -> Vec<Row> {
    [task::ROWS, states::ROWS, create::ROWS, exec::ROWS, streams::ROWS].concat()
}
