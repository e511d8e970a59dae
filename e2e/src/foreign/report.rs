//! What runs of a suite ended with, for people.

use std::path::PathBuf;
use std::time::Duration;

use super::expected::Row;
use super::{Case, Column, Outcome};

/// One run of a suite, judged.
#[derive(Debug)]
pub struct Run {
    pub column: Column,
    pub cases: Vec<Case>,
    pub took: Duration,
    pub log: PathBuf,
    /// What the table does not explain.
    pub unexplained: Vec<String>,
}

impl Run {
    pub fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|case| case.outcome == outcome).count()
    }

    /// How a case ended; nothing if it is not in this run.
    pub fn outcome(&self, name: &str) -> Option<Outcome> {
        self.cases.iter().find(|case| case.name == name).map(|case| case.outcome)
    }
}

/// The totals, and each case that did not pass with its reason.
pub fn print(run: &Run, rows: &[Row]) {
    println!(
        "{}: {} passed, {} failed, {} skipped, {} unfinished of {} in {:.0} s",
        run.column.name(),
        run.count(Outcome::Pass),
        run.count(Outcome::Fail),
        run.count(Outcome::Skip),
        run.count(Outcome::Unfinished),
        run.cases.len(),
        run.took.as_secs_f64(),
    );
    for case in run.cases.iter().filter(|case| case.outcome != Outcome::Pass) {
        let why = rows.iter().find(|row| row.is_of(case)).map(|row| row.why.as_str());
        println!("  {:<10} {}: {}", case.outcome.name(), case.name, why.unwrap_or("unexplained"));
    }
    for difference in &run.unexplained {
        println!("  unexplained: {difference}");
    }
    println!("  all of it: {}", run.log.display());
}

/// Every case of some runs, once.
pub fn names(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> =
        runs.iter().flat_map(|run| &run.cases).map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What does not end the same everywhere.
pub fn beside_each_other(runs: &[Run]) {
    println!("\nNot the same in all columns:");
    let outcome = |run: &Run, name: &str| run.outcome(name).map_or("-", Outcome::name);
    let heads: Vec<_> = runs.iter().map(|run| format!("{:<10}", run.column.name())).collect();
    println!("  {} test", heads.join(" "));
    for name in names(runs) {
        let outcomes: Vec<_> = runs.iter().map(|run| outcome(run, name)).collect();
        if outcomes.iter().any(|one| *one != outcomes[0]) {
            let cells: Vec<_> = outcomes.iter().map(|one| format!("{one:<10}")).collect();
            println!("  {} {name}", cells.join(" "));
        }
    }
}
