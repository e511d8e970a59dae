//! `e2e/CONFORMANCE.md`: the table and the differences for readers. It is made of the same data as the runs, and
//! a run fails when it is not what it would be made now. `UPDATE_EXPECT=1` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::differences::DIFFERENCES;
use crate::script::{self, Step};
use crate::table::{On, Row};

const HEAD: &str = "\
# Conformance

What a shim answers to which call in which state, which state follows and which events are published. `make conformance`
plays each row on containerd's own shim for runc, on Wherry with Wasm guests, and on Wherry with the native programs that
runc gets (built of the same source), with the same client, under containerd 1.7, 2.1 and 2.4, and at two levels:

- **shim**: the program is started in a bundle as containerd starts it, and asked over ttrpc on its socket;
- **containerd**: everything goes through containerd's Tasks API.

Events are those that containerd tells its subscribers. Each is looked at whole: pids, exit codes and times that are set
when something has ended and not before, streams, ids. What a row publishes is held against its whole life: the state
that it starts in, the steps, and its end.

This file is made from the table that is played (`e2e/tests/conformance`), and a run fails when it is out of date
(`UPDATE_EXPECT=1 make conformance` writes it anew). A run also fails on a difference that is not listed here and on one
that is listed and not seen any more.

";

/// Compares, or writes where that is wanted.
pub(crate) fn check(rows: &[Row]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md");
    let wanted = render(rows);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &wanted)?;
    }
    if fs::read_to_string(&path).unwrap_or_default() != wanted {
        bail!("{} is out of date: run it with UPDATE_EXPECT=1", path.display());
    }
    Ok(())
}

fn render(rows: &[Row]) -> String {
    let mut text = HEAD.to_string();
    text += "## Differences\n\n| where | containerd's shim for runc | Wherry | why |\n|---|---|---|---|\n";
    for difference in DIFFERENCES {
        let (theirs, ours) = (difference.theirs(rows), both(difference.ours));
        let (place, why) = (difference.place(), difference.why);
        writeln!(text, "| {place} | {} | {ours} | {why} |", both(&theirs)).ok();
    }
    text += LANGUAGE;
    let mut group = "";
    for row in rows {
        let first = row.id.split('.').next().unwrap_or_default();
        if first != group {
            group = first;
            writeln!(text, "\n### {group}\n\n| row | in state | steps | publishes | reference |")
                .ok();
            text += "|---|---|---|---|---|\n";
        }
        line(&mut text, row);
    }
    text
}

const LANGUAGE: &str = "
## Table

A step is a call, of the task or with `e.` of its exec `e` (`2/`: of a second task of the same shim), and what it answers: a value, or a code with a part of its
sentence. `|` stands between answers that are all right, where containerd's shim has a race; `//` between what a shim
answers and what containerd makes of it. Steps in italics are asked about Wasm guests only: others would be waited for for
ever, or runc's shim does not survive them. `waiting` begins a Wait that `waited` ends, `cgroup` reads a limit from the kernel, `leaves` watches
the shim go, `other` asks by the other version's name of the service. Programs are the guests of `e2e/guests`; without
one it is `sleep`. References are files below `cmd/containerd-shim-runc-v2` of containerd 2.4.2.
";

fn line(text: &mut String, row: &Row) {
    let steps: Vec<String> = script::steps(row.steps).iter().map(step).collect();
    let at = match row.on {
        On::Both => "",
        On::Shim => "<br>(shim)",
        On::Containerd => "<br>(containerd)",
    };
    let name = row.id.split_once('.').map_or(row.id, |(_, name)| name);
    let events = if row.events.is_empty() { "nothing".into() } else { both(row.events) };
    let (given, source) = (row.given, row.source);
    writeln!(text, "| {name}{at} | {given} | {} | {events} | {source} |", steps.join("<br>")).ok();
}

fn step(step: &Step) -> String {
    let (mark, text) = (if step.wasm { "*" } else { "" }, step.text);
    format!("{mark}`{text}` → {}{mark}", both(step.whole()))
}

/// As code, with the separators outside and nothing that would end a cell of the table.
fn both(expected: &str) -> String {
    let alternatives = |level: &str| {
        let all: Vec<String> = level.split(" | ").map(code).collect();
        all.join(" \\| ")
    };
    let levels: Vec<String> = expected.split(" // ").map(alternatives).collect();
    levels.join(" // ")
}

fn code(text: &str) -> String {
    format!("`{}`", text.trim())
}
