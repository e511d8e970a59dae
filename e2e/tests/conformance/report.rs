//! The table as it is printed after a run.

use std::collections::BTreeSet;
use std::fmt::Write;

use wherry_e2e::rig::Runtime;

use crate::differences::DIFFERENCES;
use crate::play::{Played, Verdict};

/// A line for each row, and below it one for each difference. The two levels of a row stand side by side.
pub(crate) fn table(all: &[Played]) -> String {
    let mut told = String::new();
    writeln!(told, "{:34} {:11} {:>5}  {:9} wherry", "row", "asked at", "steps", "runc").ok();
    let theirs = all.iter().filter(|played| played.runtime == Runtime::Runc);
    for theirs in theirs {
        let same = |other: &&Played| {
            other.runtime == Runtime::Wherry
                && (other.row.id, other.level) == (theirs.row.id, theirs.level)
        };
        let Some(ours) = all.iter().find(same) else { continue };
        let (steps, level) = (ours.verdicts.len(), theirs.level.name());
        let (left, right) = (word(theirs), word(ours));
        writeln!(told, "{:34} {level:11} {steps:>5}  {left:9} {right}", theirs.row.id).ok();
        for (step, verdict) in &ours.verdicts {
            if let Verdict::Differs(index) = verdict {
                let difference = &DIFFERENCES[*index];
                writeln!(told, "    {step} -> {}: {}", difference.ours, difference.why).ok();
            }
        }
    }
    told
}

fn word(played: &Played) -> &'static str {
    let differs = |(_, verdict): &(&str, Verdict)| matches!(verdict, Verdict::Differs(_));
    match (played.is_well(), played.verdicts.iter().any(differs)) {
        (false, _) => "WRONG",
        (true, true) => "differs",
        (true, false) => "same",
    }
}

/// What went otherwise than the table says, step by step.
pub(crate) fn troubles(all: &[Played]) -> String {
    let mut told = String::new();
    for played in all.iter().filter(|played| !played.is_well()) {
        let Played { row, runtime, level, .. } = played;
        writeln!(told, "{} on {runtime:?}, {}:", row.id, level.name()).ok();
        for (step, verdict) in &played.verdicts {
            if let Verdict::Wrong { expected, seen } = verdict {
                writeln!(told, "    {step}\n        expected {expected}\n        seen     {seen}")
                    .ok();
            }
        }
        if let Some(trouble) = &played.trouble {
            writeln!(told, "    {trouble}").ok();
        }
    }
    told
}

/// Differences that nobody has seen, though their rows were played.
pub(crate) fn unneeded(all: &[Played]) -> String {
    let mut needed = BTreeSet::new();
    for (_, verdict) in all.iter().flat_map(|played| &played.verdicts) {
        if let Verdict::Differs(index) = verdict {
            needed.insert(*index);
        }
    }
    let mut told = String::new();
    for (index, difference) in DIFFERENCES.iter().enumerate() {
        if !needed.contains(&index) && all.iter().any(|played| difference.may_be_in(&played.row)) {
            writeln!(told, "not needed any more: {difference}").ok();
        }
    }
    told
}

pub(crate) fn totals(all: &[Played]) -> String {
    let count = |runtime: Runtime, is: fn(&Verdict) -> bool| {
        let of = all.iter().filter(|played| played.runtime == runtime);
        of.flat_map(|played| &played.verdicts).filter(|(_, verdict)| is(verdict)).count()
    };
    let line = |runtime: Runtime| {
        let of = all.iter().filter(|played| played.runtime == runtime);
        let failed = of.clone().filter(|played| !played.is_well()).count();
        let took: f64 = of.clone().map(|played| played.took.as_secs_f64()).sum();
        format!(
            "{runtime:?}: {} rows, {} answers same, {} differ with a reason, {} wrong; {failed} rows failed ({took:.0} s)",
            of.count(),
            count(runtime, |verdict| matches!(verdict, Verdict::Same)),
            count(runtime, |verdict| matches!(verdict, Verdict::Differs(_))),
            count(runtime, |verdict| matches!(verdict, Verdict::Wrong { .. })),
        )
    };
    format!("{}\n{}\n", line(Runtime::Runc), line(Runtime::Wherry))
}
