//! `wherry-node`: one short job on one node, which leaves it as before or as wanted, and never between.
//!
//! ```text
//! order ──► look ──► plan ──► stage ──► try ──► journal, guard ──► commit ──► restart ──► prove ──► report
//!        (the node) (pure)  (programs) (shadow)                  (rename)   (D-Bus)    (CRI)
//! ```
//!
//! It holds no token and asks nobody outside the node. Whatever kills it, and whenever, the next run, or the guard
//! where there is none, finds the journal and finishes or undoes ([`journal`]).

mod args;
mod boot;
mod cri;
mod durable;
mod guard;
mod home;
mod journal;
mod loaded;
mod lock;
mod look;
mod revision;
mod run;
mod systemd;
mod trial;
mod undo;
mod work;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use wherry_report::{Command, Report};

use args::{HELP, What, Work};
use revision::Payload;
use work::Job;

fn main() -> ExitCode {
    match args::read().and_then(done) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wherry-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn done(what: What) -> Result<ExitCode> {
    if what.work == Work::Help {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    // What is ours is opened before the node's file system is.
    let needs_programs = [Command::Apply, Command::Verify].contains(&what.order.command);
    let payload = match what.work {
        Work::Ordered if needs_programs => Some(Payload::open(&what.place.programs)?),
        // What they are makes a difference only where they are.
        Work::Ordered if what.order.command == Command::Plan => {
            Payload::open(&what.place.programs).ok()
        }
        _ => None,
    };
    let own = guard::own_program()?;
    let report = what.place.report.as_deref().map(File::create).transpose();
    let report = report.context("can't write the report")?;
    enter(&what.place.host_root)?;
    match what.work {
        Work::Guard { of, after } => {
            let undone = guard::run(of.as_deref(), after)?;
            println!(
                "{}",
                if undone { "what was not proved is undone" } else { "nothing to undo" }
            );
            Ok(ExitCode::SUCCESS)
        }
        Work::Doctor => {
            let order = wherry_report::Order { command: Command::Plan, ..what.order };
            let job = Job { order, place: what.place, payload, own };
            println!("{}", serde_json::to_string_pretty(&job.run())?);
            Ok(ExitCode::SUCCESS)
        }
        Work::Ordered | Work::Help => {
            let job = Job { order: what.order, place: what.place, payload, own };
            told(&job.run(), report)
        }
    }
}

/// Makes the node's file system ours: from here on all paths are of the node, and its programs find their libraries.
fn enter(root: &Path) -> Result<()> {
    if root == Path::new("/") {
        return Ok(());
    }
    rustix::process::chroot(root)
        .and_then(|()| rustix::process::chdir("/"))
        .with_context(|| format!("can't enter {}", root.display()))
}

/// The short form for the cluster, the long one for who reads the log.
fn told(report: &Report, file: Option<File>) -> Result<ExitCode> {
    if let Some(mut file) = file {
        file.write_all(report.message().as_bytes()).context("can't write the report")?;
    }
    println!("{}", serde_json::to_string(report)?);
    Ok(ExitCode::from(report.outcome.exit_code()))
}
