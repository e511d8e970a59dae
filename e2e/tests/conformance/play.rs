//! Plays rows beside each other and says of each step whether it is as in the table.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

use crate::column::Column;
use crate::differences::{self, Difference};
use crate::ground::Ground;
use crate::script::{self, Level, Step};
use crate::stage::Stage;
use crate::table::Row;

/// More than processors: most of the time is spent waiting for a program to start or to end.
const PLAYERS: usize = 4;

#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Same,
    /// The index of the difference.
    Differs(usize),
    Wrong {
        expected: String,
        seen: String,
    },
}

/// A row in one column at one level.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) row: Row,
    pub(crate) column: Column,
    pub(crate) level: Level,
    /// By what was done; `events` is the last.
    pub(crate) verdicts: Vec<(&'static str, Verdict)>,
    /// Why it could not be played to its end.
    pub(crate) trouble: Option<String>,
}

impl Played {
    pub(crate) fn is_well(&self) -> bool {
        self.trouble.is_none()
            && !self.verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Wrong { .. }))
    }
}

/// All rows that `wanted` picks, on both runtimes at their levels, in the order of the table.
pub(crate) fn all(ground: &Ground, rows: &[Row]) -> Vec<Played> {
    let mut parts = Vec::new();
    for row in rows {
        for level in Level::ALL.into_iter().filter(|level| row.on.includes(*level)) {
            parts.extend(Column::ALL.map(|column| (row, column, level)));
        }
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((row, column, level)) = parts.get(number) else { break };
                    let played = play(ground, row, *column, *level, number);
                    done.lock().expect("no holder panics").push((number, played));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder panics");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, played)| played).collect()
}

fn play(ground: &Ground, row: &Row, column: Column, level: Level, number: usize) -> Played {
    let mut played = Played { row: *row, column, level, verdicts: Vec::new(), trouble: None };
    // Short: a shim's socket may be named by it, and a cgroup is.
    let id = format!("row{number}");
    if let Err(error) = act(ground, &mut played, id) {
        played.trouble = Some(format!("{error:#}"));
    }
    played
}

fn act(ground: &Ground, played: &mut Played, id: String) -> Result<()> {
    let (row, column, level) = (played.row, played.column, played.level);
    let mut stage = Stage::set(ground, column, level, &row, id)?;
    let result = perform(&mut stage, played);
    // Whatever went wrong, the next rows have the machine to themselves.
    let cleared = stage.clear();
    let result = result.and_then(|whole| {
        let published = cleared?;
        if whole {
            let verdict = events(&stage, &row, column, level, &published);
            played.verdicts.push(("events", verdict));
        }
        Ok(())
    });
    result.and(stage.strike())
}

/// Whether all of it was performed.
fn perform(stage: &mut Stage<'_>, played: &mut Played) -> Result<bool> {
    stage.reach()?;
    let asked = |step: &Step| !step.wasm || played.column == Column::Wasm;
    for step in script::steps(played.row.steps).into_iter().filter(asked) {
        let seen = stage.take(&step);
        let expected = step.expected(played.level);
        let verdict = judge(&played.row, played.column, played.level, step.text, expected, &seen);
        let ends = match &verdict {
            Verdict::Same | Verdict::Differs(_) => false,
            // What follows would only be the consequence.
            Verdict::Wrong { .. } => strays(&step, expected, &seen),
        };
        played.verdicts.push((step.text, verdict));
        if ends {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Something was done that should not have been, or the other way round.
fn strays(step: &Step, expected: &str, seen: &str) -> bool {
    let refused = |text: &str| text.chars().next().is_some_and(char::is_uppercase);
    !matches!(step.verb, "closeio" | "resize" | "stats" | "pids" | "cgroup" | "state" | "update")
        && refused(expected) != refused(seen)
}

fn judge(
    row: &Row,
    column: Column,
    level: Level,
    step: &str,
    expected: &str,
    seen: &str,
) -> Verdict {
    if script::fits(expected, seen) {
        return Verdict::Same;
    }
    let here = |difference: &&Difference| {
        difference.is_of(column)
            && difference.is_about(row.id, step, expected)
            && script::fits(script::at(difference.ours, level), seen)
    };
    match differences::find(here) {
        Some(index) => Verdict::Differs(index),
        None => Verdict::Wrong { expected: expected.into(), seen: seen.into() },
    }
}

fn events(stage: &Stage<'_>, row: &Row, column: Column, level: Level, published: &str) -> Verdict {
    // What is expected of the steps, between what the state and the clearing up have published.
    let whole = |steps: &str| {
        let parts = [row.given.events(), steps.to_string(), published.to_string()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let expected = script::at(row.events, level);
    let all: Vec<String> = expected.split(" | ").map(|one| whole(one.trim())).collect();
    let right = |seen: &str| {
        all.iter().any(|one| one == seen || column == Column::Runc && as_by_runcs_shim(one, seen))
    };
    let ours = |difference: &&Difference, seen: &str| {
        let ours = script::at(difference.ours, level);
        difference.is_of(column)
            && difference.is_about(row.id, "events", expected)
            && ours.split(" | ").any(|one| whole(one.trim()) == seen)
    };
    let different = |seen: &str| differences::find(|difference| ours(difference, seen));
    let seen = stage.events(|seen| right(seen) || different(seen).is_some());
    match different(&seen) {
        _ if right(&seen) => Verdict::Same,
        Some(index) => Verdict::Differs(index),
        None => Verdict::Wrong { expected: all.join(" | "), seen },
    }
}

/// Whether it is all, as containerd's own shim tells it. As soon as a task is deleted its shim is told to shut down,
/// and then often ends with that event still in its queue. On cgroup v1 it tells of want of memory whenever the kernel
/// wakes it (pkg/oom/v1/v1.go process): more than once for the same kill, and for a removal of the group, of which
/// nobody wanted memory.
fn as_by_runcs_shim(expected: &str, seen: &str) -> bool {
    let mut seen = seen.split(", ").peekable();
    for one in expected.split(", ") {
        if seen.next_if_eq(&one).is_none() && !one.starts_with("delete") {
            return false;
        }
        let wakes = ["oom", "exit", "delete"].iter().any(|what| one.starts_with(what));
        while wakes && seen.next_if_eq(&"oom").is_some() {}
    }
    seen.next().is_none()
}

/// What holds of that, asked before anything is played.
pub(crate) fn check() {
    let check = |whole, seen, so| assert_eq!(as_by_runcs_shim(whole, seen), so, "{seen}");
    let killed = "create, oom, start, exit 137, delete 137";
    check(killed, killed, true);
    check(killed, "create, oom, oom, start, exit 137", true);
    check(killed, "create, start, exit 137, delete 137", false);
    check(killed, "create, oom, start, start, exit 137, delete 137", false);
    let twice = "start, exit 0, delete 0, create";
    check(twice, "start, exit 0, delete 0, oom, create", true);
    check(twice, "start, oom, exit 0, delete 0, create", false);
}
