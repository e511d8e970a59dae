//! A storm: random calls to several containers at once, while shims, guests, compilers, `runc` and containerd
//! itself are killed.
//!
//! [`plan`] makes all of it out of a seed and knows nothing of what will happen; [`model`] says of every answer
//! whether a correct runtime may have given it. Both are pure. What carries a plan out is the suite `storm`.
//!
//! ```text
//! seed ──► plan: rounds of moves ──► calls and kills, at once ──► answers ──► model: allowed?
//! ```

pub mod model;
pub mod plan;
mod table;

use std::fmt;

/// How many containers there may be at once.
pub const SLOTS: usize = 8;
/// The first slots are one pod, whose containers share a shim.
pub const POD: usize = 3;
/// How many execs a container may have at once.
pub const EXECS: usize = 2;

/// All slots whose containers have the shim of `slot`.
pub fn companions(slot: usize) -> std::ops::Range<usize> {
    if slot < POD { 0..POD } else { slot..slot + 1 }
}

/// What a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Until it is killed.
    Sleep,
    /// On a terminal, until it is killed.
    Terminal,
    /// Until its input ends.
    Cat,
    Exit(u8),
    /// A moment, and then with code 5.
    Moment,
    /// Answers HTTP.
    Service,
    /// As [`Program::Sleep`], of a module that nobody has compiled.
    Cold,
    /// An ordinary program; SIGTERM makes it end with 3.
    Native,
    NativeTerminal,
    NativeCat,
    /// An ordinary program that ends with 4 in a moment.
    NativeMoment,
}

impl Program {
    pub const ALL: [Program; 11] = [
        Program::Sleep,
        Program::Terminal,
        Program::Cat,
        Program::Exit(7),
        Program::Moment,
        Program::Service,
        Program::Cold,
        Program::Native,
        Program::NativeTerminal,
        Program::NativeCat,
        Program::NativeMoment,
    ];

    pub fn is_native(self) -> bool {
        use Program as P;
        matches!(self, P::Native | P::NativeTerminal | P::NativeCat | P::NativeMoment)
    }

    /// The code with which it may end by itself once it runs.
    pub fn own_end(self) -> Option<u32> {
        match self {
            Program::Exit(code) => Some(code.into()),
            // Whoever wrote the input may be through with it before the start.
            Program::Cat | Program::NativeCat => Some(0),
            Program::Moment => Some(5),
            Program::NativeMoment => Some(4),
            _ => None,
        }
    }

    /// It has ended before anybody asks again.
    pub fn is_short(self) -> bool {
        matches!(self, Program::Exit(_) | Program::Moment | Program::NativeMoment)
    }

    /// It has an input, whose end is its own.
    pub fn reads(self) -> bool {
        matches!(self, Program::Cat | Program::NativeCat)
    }
}

/// What an exec runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inner {
    True,
    /// A shell that ends with 6.
    Six,
    Sleep,
    Terminal,
    Cat,
    /// Nothing of this name is there.
    Missing,
    /// The container's own program once more.
    Itself,
}

impl Inner {
    pub const ALL: [Inner; 7] = [
        Inner::True,
        Inner::Six,
        Inner::Sleep,
        Inner::Terminal,
        Inner::Cat,
        Inner::Missing,
        Inner::Itself,
    ];

    pub fn own_end(self) -> Option<u32> {
        match self {
            Inner::True | Inner::Cat => Some(0),
            Inner::Six => Some(6),
            _ => None,
        }
    }

    pub fn reads(self) -> bool {
        self == Inner::Cat
    }
}

/// What is asked of a task or an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create(Program),
    /// Adds an exec.
    Add(Inner),
    Start,
    State,
    Wait,
    Kill {
        signal: u32,
        all: bool,
    },
    Delete,
    Pids,
    Stats,
    Pause,
    Resume,
    Update,
    CloseStdin,
    Resize,
}

impl Verb {
    /// One word, for totals.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Create(_) => "create",
            Verb::Add(_) => "exec",
            Verb::Start => "start",
            Verb::State => "state",
            Verb::Wait => "wait",
            Verb::Kill { .. } => "kill",
            Verb::Delete => "delete",
            Verb::Pids => "pids",
            Verb::Stats => "stats",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Update => "update",
            Verb::CloseStdin => "closeio",
            Verb::Resize => "resize",
        }
    }
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    pub slot: usize,
    /// One of the task's execs instead of the task.
    pub exec: Option<usize>,
    pub verb: Verb,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.slot)?;
        if let Some(exec) = self.exec {
            write!(f, ".e{exec}")?;
        }
        write!(f, " {:?}", self.verb)
    }
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The shim of this slot's container, and thereby of its companions'.
    Shim(usize),
    /// One of the processes of this slot's container: `pick` of however many there are.
    Guest { slot: usize, pick: usize },
}

/// A `kill -9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    At(Victim),
    /// A compiler, if one is seen while the calls are under way.
    Compiler,
    /// A `runc`, likewise.
    Runc,
    /// containerd, and somebody else while it is away.
    Containerd {
        away: Option<Victim>,
    },
    /// containerd is asked to end, and started again.
    Restart {
        away: Option<Victim>,
    },
}

impl Blow {
    pub fn word(self) -> &'static str {
        match self {
            Blow::At(Victim::Shim(_)) => "shim",
            Blow::At(Victim::Guest { .. }) => "guest",
            Blow::Compiler => "compiler",
            Blow::Runc => "runc",
            Blow::Containerd { .. } => "containerd",
            Blow::Restart { .. } => "restart",
        }
    }
}

/// Calls that are made at the same time, and what befalls them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub ops: Vec<Op>,
    /// So many microseconds after the calls.
    pub blow: Option<(u64, Blow)>,
}
