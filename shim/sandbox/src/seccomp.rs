//! System call filters: what a process may ask of the kernel.
//!
//! A [`Policy`] is data; [`bpf`] turns it into the kernel's program. Three policies apply to a
//! guest, and the strictest answer counts: [`own`] twice, and the spec's ([`spec`]).

use crate::error::Doing;
use crate::{Result, sys};

mod bpf;
pub(crate) mod own;
pub(crate) mod spec;

/// A compiled filter.
pub(crate) use bpf::Program;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Errno(u16),
    KillThread,
    KillProcess,
    Trap,
    Trace(u16),
    Log,
}

/// A test of one argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) argument: u8,
    pub(crate) test: Test,
    pub(crate) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal after the argument is and-ed with this.
    MaskedEqual(u64),
}

/// A call for which all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) call: u32,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// Rules for calls, and what is done about all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) otherwise: Action,
    /// Calls with a higher number than any this policy knows did not exist when it was written:
    /// programs expect ENOSYS of them and try something older.
    pub(crate) unknown_is_enosys: bool,
}

impl Rule {
    pub(crate) fn new(call: i64, action: Action) -> Rule {
        Rule { call: call as u32, conditions: Vec::new(), action }
    }

    pub(crate) fn when(mut self, argument: u8, test: Test, value: u64) -> Rule {
        self.conditions.push(Condition { argument, test, value });
        self
    }
}

/// Installs a filter for good. `flags` are `SECCOMP_FILTER_FLAG_…` of `seccomp(2)`.
pub(crate) fn install(program: &Program, flags: u64, whose: &str) -> Result<()> {
    sys::seccomp::install(program.as_raw(), flags).doing(|| format!("installing {whose}"))
}
