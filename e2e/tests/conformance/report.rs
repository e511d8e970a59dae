//! The table as it is printed after a run.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::column::Column;
use crate::differences::DIFFERENCES;
use crate::play::{Played, Verdict};

/// A line for each row at each level, and below it one for each difference.
pub(crate) fn table(all: &[Played]) -> String {
    let mut told = String::new();
    let mut line = |row: &str, level: &str, words: [&str; 3]| {
        let [runc, wasm, native] = words;
        let text = format!("{row:34} {level:11} {runc:9} {wasm:9} {native}");
        writeln!(told, "{}", text.trim_end()).ok();
    };
    line("row", "asked at", Column::ALL.map(Column::name));
    // Those of one row at one level are neighbours.
    for columns in all.chunks(Column::ALL.len()) {
        let [runc, wasm, native] = columns else { continue };
        line(runc.row.id, runc.level.name(), [runc, wasm, native].map(word));
        for played in [wasm, native] {
            for (step, verdict) in &played.verdicts {
                if let Verdict::Differs(index) = verdict {
                    let (ours, why) = (DIFFERENCES[*index].ours, DIFFERENCES[*index].why);
                    let text = format!("    {step} -> {ours} ({}): {why}", played.column.name());
                    line(&text, "", [""; 3]);
                }
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
        let Played { row, column, level, .. } = played;
        writeln!(told, "{}, {}, {}:", row.id, column.name(), level.name()).ok();
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

/// Differences that nobody has seen, in a column that they are of and whose rows were played.
pub(crate) fn unneeded(all: &[Played]) -> String {
    let mut told = String::new();
    for column in Column::ALL.into_iter().filter(|column| column.is_ours()) {
        let of: Vec<&Played> = all.iter().filter(|played| played.column == column).collect();
        let mut needed = BTreeSet::new();
        for (_, verdict) in of.iter().flat_map(|played| &played.verdicts) {
            if let Verdict::Differs(index) = verdict {
                needed.insert(*index);
            }
        }
        for (index, difference) in DIFFERENCES.iter().enumerate() {
            let played = of.iter().any(|played| difference.may_be_in(&played.row));
            if played && difference.is_of(column) && !needed.contains(&index) {
                writeln!(told, "{}, not needed any more: {difference}", column.name()).ok();
            }
        }
    }
    told
}

pub(crate) fn totals(all: &[Played]) -> String {
    let line = |column: Column| {
        let of: Vec<&Played> = all.iter().filter(|played| played.column == column).collect();
        let count = |is: fn(&Verdict) -> bool| {
            let verdicts = of.iter().flat_map(|played| &played.verdicts);
            verdicts.filter(|(_, verdict)| is(verdict)).count()
        };
        format!(
            "{}: {} rows, {} answers the same, {} differ with a reason, {} wrong; {} rows failed\n",
            column.name(),
            of.len(),
            count(|verdict| matches!(verdict, Verdict::Same)),
            count(|verdict| matches!(verdict, Verdict::Differs(_))),
            count(|verdict| matches!(verdict, Verdict::Wrong { .. })),
            of.iter().filter(|played| !played.is_well()).count(),
        )
    };
    Column::ALL.map(line).concat()
}
