//! The node as it was before the first [`Command::Apply`](wherry_report::Command::Apply).

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use wherry_containerd::{Change, File, Plan};
use wherry_report::{Outcome, Report, WhenInUse};

use super::{Ended, Job, edits, in_use, locked};
use crate::cri::Cri;
use crate::journal::{Journal, Record, Stage, Turn};
use crate::look::Look;
use crate::{durable, home, revision, trial, undo};

impl Job {
    pub(super) fn remove(&self, report: &mut Report) -> Result<Ended> {
        let began = Instant::now();
        if !Path::new(home::HOME).exists() {
            return Ok((Outcome::Removed, "nothing of ours is on the node".into()));
        }
        let _lock = locked()?;
        let inherited = self.inherit(None)?;
        let look = self.look(report)?;
        report.in_use = in_use(&look);
        if !report.in_use.is_empty() && self.order.when_in_use != WhenInUse::Force {
            let message = format!(
                "{} containers still run under the shim: end their pods first",
                report.in_use.len()
            );
            return Ok((Outcome::InUse, message));
        }
        if let Some(journal) = inherited {
            return self.carry_out(journal, &look, report, began);
        }
        let record = Record::read()?;
        let plan = match as_before(&look, record.as_ref()) {
            Ok(plan) => plan,
            Err(refusal) => return Ok((Outcome::Failed, refusal.to_string())),
        };
        let edits = edits(&plan.changes)?;
        let handlers = record.as_ref().map_or_else(|| self.handlers(), |it| it.handlers.clone());
        if !edits.is_empty() {
            if let Err(why) = self.preflight(&look, report) {
                return Ok((Outcome::Failed, why));
            }
            if !plan.candidate.is_empty() {
                durable::folders(Path::new(home::TRANSACTION))?;
                trial::try_out(&look, &plan, &handlers, false)?;
            }
        }
        let journal = Journal {
            transaction: self.order.transaction.clone(),
            id: Journal::id(),
            stage: Stage::Prepared,
            files: edits,
            folders: Vec::new(),
            link: Turn { before: revision::current(), after: None },
            record: Turn { before: record, after: None },
            expects: Vec::new(),
            forgets: handlers,
            containers: Cri::connect(&look.daemon.address)?.running()?,
            daemon: look.daemon.clone(),
        };
        durable::folders(Path::new(home::TRANSACTION))?;
        journal.write()?;
        self.carry_out(journal, &look, report, began)
    }
}

/// Files that are as we left them become what they were, to the byte; others lose what is ours in them.
fn as_before(look: &Look, record: Option<&Record>) -> Result<Plan> {
    let mut plan = match record {
        // Nothing is known but what can be seen.
        None => return Ok(wherry_containerd::remove(&look.node)?),
        Some(_) => Plan {
            way: wherry_containerd::way(&look.node)?,
            changes: Vec::new(),
            candidate: look.node.files.clone(),
        },
    };
    // The last change first: what is imported goes after the line that imports it.
    for known in record.iter().flat_map(|record| record.files.iter().rev()) {
        let text = match undo::content(&known.path)? == known.ours {
            true => known.original.clone(),
            false => {
                let seen = wherry_containerd::remove(&look.node)?;
                let change = seen.changes.into_iter().find(|change| change.path == known.path);
                let Some(change) = change else { continue };
                change.text
            }
        };
        plan.changes.push(Change { path: known.path.clone(), text: text.clone() });
        match plan.candidate.iter_mut().find(|file| file.path == known.path) {
            Some(file) => file.text = text,
            None => plan.candidate.push(File { path: known.path.clone(), text }),
        }
    }
    plan.candidate.retain(|file| file.text.is_some());
    // A template is not what containerd reads.
    let is_template = matches!(plan.way, wherry_containerd::Way::Template { .. });
    if is_template {
        plan.candidate.clear();
    }
    Ok(plan)
}
