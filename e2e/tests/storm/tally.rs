//! Totals, and the last that happened.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// How much of the past is told when something goes wrong.
const REMEMBERED: usize = 60;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: BTreeMap<&'static str, Calls>,
    kills: BTreeMap<&'static str, usize>,
    pub(crate) leak_checks: usize,
    history: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Calls {
    done: usize,
    refused: usize,
    slowest: Duration,
}

impl Tally {
    pub(crate) fn call(&mut self, what: &'static str, done: bool, took: Duration) {
        let calls = self.calls.entry(what).or_default();
        *(if done { &mut calls.done } else { &mut calls.refused }) += 1;
        calls.slowest = calls.slowest.max(took);
    }

    pub(crate) fn kill(&mut self, what: &'static str) {
        *self.kills.entry(what).or_default() += 1;
    }

    pub(crate) fn note(&mut self, line: String) {
        if std::env::var_os("WHERRY_TELL").is_some() {
            println!("{line}");
        }
        self.history.push_back(line);
        if self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
    }

    pub(crate) fn history(&self) -> String {
        self.history.iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  call       done  refused  slowest")?;
        for (what, Calls { done, refused, slowest }) in &self.calls {
            writeln!(f, "  {what:8} {done:6}  {refused:7}  {:.2} s", slowest.as_secs_f64())?;
        }
        let kills: Vec<String> =
            self.kills.iter().map(|(what, count)| format!("{what} {count}")).collect();
        writeln!(f, "  killed: {}", kills.join(", "))?;
        write!(f, "  leak checks: {}", self.leak_checks)
    }
}
