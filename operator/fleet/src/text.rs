//! What is seen, as text: tables for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use wherry_operator_core::crd::Counts;

use crate::view::{Node, Shim, Verdict, Waits, Wave, age};

/// Nodes of a `WasmShim` that are listed unless all are asked for.
const NODES: usize = 20;
const BAR: usize = 20;

/// How it is told.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// How the reader calls this program, as `wherry fleet`.
    pub(crate) called: String,
    pub(crate) all: bool,
    /// Columns of a terminal; text for a program is not cut.
    pub(crate) width: Option<usize>,
}

pub(crate) fn status(shims: &[Shim], manner: &Manner, now: Timestamp) -> String {
    if shims.is_empty() {
        return "There is no WasmShim.\n".into();
    }
    let head = ["WASMSHIM", "MODE", "PHASE", "READY", "WAVE", "TARGET", "LAST GOOD"];
    let mut lines = table(&head, shims.iter().map(row).collect());
    for shim in shims {
        lines.push(String::new());
        lines.extend(summary(shim, manner, now));
        lines.extend(shim.waves.iter().map(|wave| bar(wave, &shim.waves)));
        lines.extend(nodes(shim, manner, now));
    }
    lines.iter().map(|line| cut(line, manner.width) + "\n").collect()
}

fn row(shim: &Shim) -> Vec<String> {
    let at = shim.waves.iter().position(|wave| wave.current);
    let wave = at.map(|at| format!("{} ({}/{})", shim.waves[at].name, at + 1, shim.waves.len()));
    let none = || "-".to_string();
    vec![
        shim.name.clone(),
        format!("{:?}", shim.mode),
        format!("{:?}", shim.phase),
        format!("{}/{}", shim.counts.ready, shim.counts.desired),
        wave.unwrap_or_else(none),
        shim.target_revision.clone(),
        shim.last_good_revision.clone().unwrap_or_else(none),
    ]
}

/// One line for the numbers, and one for what is waited for or went wrong.
fn summary(shim: &Shim, manner: &Manner, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", shim.name, counts(&shim.counts))];
    let (called, name) = (&manner.called, &shim.name);
    if let Some(rejected) = &shim.rejected {
        let good = match &shim.last_good_revision {
            Some(good) => format!("{good} is what nodes go back to"),
            None => "there is no good revision to go back to".into(),
        };
        lines.push(format!("  {} is rolled back: {}; {good}", rejected.revision, rejected.message));
        lines.push(format!("  to try it once more: {called} retry {name}"));
    }
    let told = shim.waits.as_ref().map(|waits| match waits {
        Waits::Operator => "the operator has not looked at this spec yet: is it running?".into(),
        Waits::Resume => format!("paused; to go on: {called} resume {name}"),
        Waits::Approval => {
            format!("waits for approval: {called} approve {name} {}", shim.target_revision)
        }
        Waits::Window(all) => format!("waits for a window: {}", all.join(", or ")),
        Waits::Soak(until) => {
            let left = age(until.0, &Time(now));
            format!("the wave is watched for {left} more, until {}", until.0)
        }
        Waits::Restart(nodes) => {
            format!("waits for a restart of containerd on {nodes} nodes (spec.restart.policy)")
        }
        Waits::Accepted(why) => format!("cannot be done: {why}"),
        Waits::Nodes(all) => format!("nodes to be cleaned wait: {}", all.join("; ")),
    });
    lines.extend(told.map(|told| format!("  {told}")));
    lines
}

/// What there is none of is not told.
pub(crate) fn counts(counts: &Counts) -> String {
    let mut text = format!("{} of {} ready", counts.ready, counts.desired);
    let others = [
        (counts.progressing, "at work"),
        (counts.pending, "pending"),
        (counts.pending_restart, "waiting for a restart"),
        (counts.failed, "failed"),
        (counts.drifted, "drifted"),
        (counts.unsupported, "unsupported"),
        (counts.held, "held"),
        (counts.removing, "removing"),
    ];
    for (count, word) in others.iter().filter(|(count, _)| *count > 0) {
        write!(text, ", {count} {word}").expect("a string takes everything");
    }
    text
}

fn bar(wave: &Wave, all: &[Wave]) -> String {
    let longest = all.iter().map(|wave| wave.name.chars().count()).max().unwrap_or(0);
    let part = |count: usize| (count * BAR).checked_div(wave.nodes).unwrap_or(0).min(BAR);
    let (ready, failed) = (part(wave.ready), part(wave.failed));
    let failed = failed.max(usize::from(wave.failed > 0)).min(BAR);
    let ready = ready.min(BAR - failed);
    let rest = BAR - ready - failed;
    let bar = ["#".repeat(ready), "!".repeat(failed), ".".repeat(rest)].concat();
    let mark = if wave.current { ">" } else { " " };
    let bad = match wave.failed {
        0 => String::new(),
        count => format!(", {count} failed"),
    };
    let pad = " ".repeat(longest - wave.name.chars().count());
    format!("{mark} {}{pad}  [{bar}]  {}/{}{bad}", wave.name, wave.ready, wave.nodes)
}

fn nodes(shim: &Shim, manner: &Manner, now: Timestamp) -> Vec<String> {
    let few = shim.nodes.len() <= NODES || manner.all;
    let mut told: Vec<&Node> = shim.nodes.iter().filter(|node| few || !node.settled).collect();
    if !few {
        // Of many, first what somebody should look at, then what goes on.
        told.sort_by_key(|node| (!node.phase.bad(), !node.phase.at_work()));
        told.truncate(NODES);
    }
    let mut lines = vec![String::new()];
    let head = ["NODE", "PHASE", "REVISION", "PROVED", "RUNTIME", "LAST FINDING"];
    if !told.is_empty() {
        lines.extend(table(&head, told.iter().map(|node| node_row(node, now)).collect()));
    }
    let left = shim.nodes.len() - told.len();
    let settled = shim.nodes.iter().filter(|node| node.settled).count();
    if left > 0 {
        lines.push(format!("{left} more ({settled} as wanted): {} status --all", manner.called));
    }
    if lines.len() > 1 { lines } else { Vec::new() }
}

fn node_row(node: &Node, now: Timestamp) -> Vec<String> {
    let none = || "-".to_string();
    let finding = node.findings.first().map(|it| format!("{}: {}", it.code, it.message));
    let said = Some(node.message.clone()).filter(|it| node.phase.bad() && !it.is_empty());
    vec![
        node.name.clone(),
        node.phase.word(),
        node.revision.clone().unwrap_or_else(none),
        node.proved_at.as_ref().map_or_else(none, |at| format!("{} ago", age(now, at))),
        node.runtime.clone().unwrap_or_else(none),
        finding.or(said).unwrap_or_else(none),
    ]
}

/// Columns as wide as what stands in them; the last one is as long as it is.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|word| word.to_string()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    [&head].into_iter().chain(&rows).map(line).collect()
}

/// A message of an agent may have several lines.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// A line that is longer than a terminal's would make others scroll away.
fn cut(line: &str, width: Option<usize>) -> String {
    let line = one_line(line);
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line,
    }
}

/// What is new since the last look, as lines for a log.
pub(crate) fn news(before: &[Shim], after: &[Shim], now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for shim in after {
        let was = before.iter().find(|it| it.name == shim.name);
        let line = |shim: &Shim| {
            let wave = shim.waves.iter().find(|wave| wave.current);
            let wave = wave.map(|wave| format!(" wave {}", wave.name)).unwrap_or_default();
            format!("{} {:?}{wave} {}", shim.name, shim.phase, counts(&shim.counts))
        };
        if was.map(line) != Some(line(shim)) {
            lines.push(line(shim));
        }
        for node in shim.nodes.iter().filter(|node| node.phase.bad()) {
            let known = was.and_then(|was| was.nodes.iter().find(|it| it.name == node.name));
            if known.is_none_or(|known| known.phase != node.phase) {
                let finding = node.findings.first().map(|it| it.message.clone());
                let why = finding.unwrap_or_else(|| node.message.clone());
                lines.push(format!("{} {} {}: {why}", shim.name, node.name, node.phase.word()));
            }
        }
    }
    let gone = before.iter().filter(|it| after.iter().all(|shim| shim.name != it.name));
    lines.extend(gone.map(|shim| format!("{} is gone", shim.name)));
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    lines.iter().map(|line| format!("{time} {}", cut(line, None))).collect()
}

/// The worst of all.
pub(crate) fn verdict(shims: &[Shim]) -> Verdict {
    shims.iter().map(|shim| shim.verdict).max().unwrap_or(Verdict::Well)
}
