//! The conformance table, played on containerd's own shim for runc and on ours by the same client.

mod cgroup;
mod column;
mod differences;
mod document;
mod events;
mod ground;
mod play;
mod report;
mod script;
mod seen;
mod stage;
mod steps;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wherry_e2e::leaks;

fn main() -> ExitCode {
    match conformance() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Words on the command line pick the rows whose names they are part of.
fn conformance() -> Result<()> {
    script::check();
    play::check();
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let words: Vec<String> = words.collect();
    let mut rows = table::rows();
    document::check(&rows)?;
    rows.retain(|row| words.is_empty() || words.iter().any(|word| row.id.contains(word)));
    let ground = ground::Ground::new()?;
    println!("containerd {}", ground.containerd.version.name());
    let all = play::all(&ground, &rows);
    print!("{}", report::table(&all));
    print!("{}", report::totals(&all));
    let wrong = report::troubles(&all) + &report::unneeded(&all);
    if !wrong.is_empty() {
        eprintln!("not as in the table:\n{wrong}");
    }
    leaks::after(&ground.containerd).context("left behind")?;
    println!("conformance: nothing left behind");
    if !wrong.is_empty() {
        bail!("the table does not hold");
    }
    Ok(())
}
