//! The node as it was before the first [`Command::Apply`](wherry_report::Command::Apply).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use wherry_containerd::{Change, Distribution, Effective, File, Plan};
use wherry_report::{Outcome, Report, WhenInUse};

use super::{Ended, Job, edits, in_use, locked};
use crate::cri::{self, Cri, Wish};
use crate::journal::{Journal, Record, Stage, Turn};
use crate::look::Look;
use crate::{durable, home, revision, trial, undo};

impl Job {
    pub(super) fn remove(&self, report: &mut Report) -> Result<Ended> {
        let began = Instant::now();
        if !Path::new(home::HOME).exists() && !self.is_left() {
            return Ok((Outcome::Removed, "nothing of ours is on the node".into()));
        }
        let _lock = locked()?;
        if let Some(why) = self.anothers()? {
            return Ok((Outcome::Removed, format!("nothing was taken off: {why}")));
        }
        let inherited = self.inherit(None, report)?;
        let look = self.look(report)?;
        report.in_use = in_use(&look);
        if !report.in_use.is_empty() && self.order.when_in_use != WhenInUse::Force {
            let message = format!(
                "{} containers still run under the shim: end their pods first",
                report.in_use.len()
            );
            return Ok((Outcome::InUse, message));
        }
        if let Some(mut journal) = inherited {
            journal.daemon = self.daemon(&look);
            return self.carry_out(journal, &look, report, began);
        }
        let record = Record::read()?;
        let plan = match as_before(&look, record.as_ref()) {
            Ok(plan) => plan,
            Err(refusal) => return Ok((Outcome::Failed, refusal.to_string())),
        };
        let edits = edits(&plan.changes)?;
        let mut handlers =
            record.as_ref().map_or_else(|| self.handlers(), |it| it.handlers.clone());
        let mut after = None;
        let wish = Wish { forgotten: &handlers, ..Wish::default() };
        let is_forgotten = cri::wait(&look.daemon.address, &wish, Duration::ZERO).is_ok();
        if !edits.is_empty() || !is_forgotten {
            if let Err(why) = self.preflight(&look, report) {
                return Ok((Outcome::Failed, why));
            }
            if !edits.is_empty() && !plan.candidate.is_empty() {
                durable::folders(Path::new(home::TRANSACTION))?;
                after = Some(trial::try_out(&look, &plan, &handlers, &[])?);
            }
        }
        // What somebody else's files say stays. k0s makes of its files what it reads only when it sees them.
        let is_k0s = look.node.distribution == Distribution::K0s;
        let after = after.as_ref().or(edits.is_empty().then_some(&look.node.effective));
        let stays = |name: &String| {
            let cri = after.filter(|_| !is_k0s).and_then(Effective::cri);
            cri.is_some_and(|cri| cri.handlers.contains_key(name))
        };
        handlers.retain(|name| !stays(name));
        let journal = Journal {
            transaction: self.order.transaction.clone(),
            id: Journal::id(),
            stage: Stage::Prepared,
            files: edits,
            folders: Vec::new(),
            link: Turn { before: revision::current(), after: None },
            record: Turn { before: record, after: None },
            handlers: Vec::new(),
            forgets: handlers,
            containers: Cri::connect(&look.daemon.address)?.running()?,
            daemon: self.daemon(&look),
        };
        journal.begin()?;
        self.carry_out(journal, &look, report, began)
    }

    /// Whether anything of ours is left of a node whose folder of ours is gone. One without a containerd, or of a kind
    /// that is never changed, has nothing.
    fn is_left(&self) -> bool {
        let Ok(look) = Look::at(&self.place) else { return false };
        let Ok(plan) = wherry_containerd::remove(&look.node) else { return false };
        let state = Cri::connect(&look.daemon.address).and_then(|mut cri| cri.state());
        edits(&plan.changes).is_ok_and(|edits| !edits.is_empty())
            || state.is_ok_and(|state| state.has_ours())
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
        put(&mut plan, Change { path: known.path.clone(), text });
    }
    // What nobody remembers, as a line that was there when a record was lost.
    let seen = wherry_containerd::remove(&look.node)?.changes;
    for change in seen {
        if record.is_some_and(|record| record.known(&change.path).is_none()) {
            put(&mut plan, change);
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

fn put(plan: &mut Plan, change: Change) {
    let Change { path, text } = change.clone();
    match plan.candidate.iter_mut().find(|file| file.path == path) {
        Some(file) => file.text = text,
        None => plan.candidate.push(File { path, text }),
    }
    plan.changes.push(change);
}
