//! What the facts mean: each is fine, or says what is and what to do. Pure.

mod containerd;
mod handler;
mod kernel;
mod remains;
#[cfg(test)]
mod tests;

use super::facts::Facts;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    /// It works, and something is missing or will trouble somebody.
    Warn,
    /// Containers do not run, or not as they should.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Which question this answers; programs know it by this name.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What is.
    pub(super) what: String,
    /// What to do about it; empty if nothing.
    pub(super) todo: String,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, what: what.into(), todo: String::new() }
    }

    pub(super) fn warn(
        check: &'static str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) -> Finding {
        Finding { check, level: Level::Warn, what: what.into(), todo: todo.into() }
    }

    pub(super) fn fail(
        check: &'static str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) -> Finding {
        Finding { check, level: Level::Fail, what: what.into(), todo: todo.into() }
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = kernel::judge(&facts.kernel, &facts.cgroups);
    findings.extend(containerd::judge(&facts.containerd));
    findings.extend(handler::judge(facts));
    findings.extend(facts.caches.iter().map(remains::cache));
    findings.extend(remains::leftovers(&facts.leftovers));
    findings
}

fn list<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
