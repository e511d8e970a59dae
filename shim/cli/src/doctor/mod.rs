//! `wherry doctor`: whether this node can run Wasm containers, and if not, what to do about it.
//!
//! ```text
//! gather ──► Facts ──► judge ──► Findings ──► people, or JSON
//! (reads the node)     (pure)
//! ```
//!
//! It changes nothing, with one exception: compiled code in the cache that is damaged is removed, as the next
//! container would do.

mod containerd;
mod facts;
mod gather;
mod judge;
mod report;

use std::process::ExitCode;

use crate::args::Doctor;
use crate::{node, print};

pub(crate) fn run(what: &Doctor) -> ExitCode {
    match examine(what) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("wherry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn examine(what: &Doctor) -> anyhow::Result<bool> {
    node::may_look("doctor")?;
    if let Some(root) = &what.root {
        gather::enter(root)?;
    }
    let findings = judge::judge(&gather::facts(what)?);
    print(&if what.json { report::json(&findings) } else { report::text(&findings) })?;
    Ok(findings.iter().all(|finding| finding.level != judge::Level::Fail))
}
