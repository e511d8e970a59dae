//! Processes and times as they are written down: who is meant, even after a pid is used again.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wherry_core::lifecycle::Time;

/// A process, told from any later one with its pid by the time at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)).
    pub(crate) started: u64,
}

impl Process {
    pub(crate) fn of(pid: u32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, in parentheses, may hold anything.
        let fields = &stat[stat.rfind(')')? + 1..];
        let started = fields.split_whitespace().nth(19)?.parse().ok()?;
        Some(Process { pid, started })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Process::of(self.pid).as_ref() == Some(self)
    }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // Below a billion.
        nanos: since.subsec_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_pid() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
    }
}
