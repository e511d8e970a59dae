//! The node as wanted.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wherry_containerd::{Change, Plan};
use wherry_report::{Installed, Outcome, Report};

use super::{Ended, Job, edits, locked, method, missing_folders, unable};
use crate::cri::{self, Cri, Wish};
use crate::journal::{Edit, Journal, Known, Record, Stage, Turn};
use crate::look::Look;
use crate::revision::{self, Payload};
use crate::undo::content;
use crate::{durable, home, trial};

impl Job {
    pub(super) fn apply(&self, report: &mut Report) -> Result<Ended> {
        let began = Instant::now();
        let payload = self.payload.as_ref().context("there are no programs to install")?;
        let _lock = locked()?;
        if let Some(why) = self.anothers()? {
            return Ok((Outcome::Failed, why));
        }
        let inherited = self.inherit(Some(payload), report)?;
        let look = self.look(report)?;
        let plan = match self.install(&look.node) {
            Ok(plan) => plan,
            Err(refusal) => return Ok((unable(&refusal), refusal.to_string())),
        };
        if let Some(mut journal) = inherited {
            payload.stage()?;
            journal.daemon = self.daemon(&look);
            return self.carry_out(journal, &look, report, began);
        }
        if let Err(why) = self.preflight(&look, report) {
            return Ok((Outcome::Failed, why));
        }
        payload.stage()?;
        let edits = edits(&plan.changes)?;
        let wish = Wish { loaded: &self.order.handlers, ..Wish::default() };
        let is_loaded = cri::wait(&look.daemon.address, &wish, Duration::ZERO).is_ok();
        if !edits.is_empty() || !is_loaded {
            durable::folders(Path::new(home::TRANSACTION))?;
            trial::try_out(&look, &plan, &self.handlers(), &self.order.handlers)?;
        }
        let journal = self.prepare(&look, payload, edits)?;
        self.carry_out(journal, &look, report, began)
    }

    /// What is to be done, written down with what was before.
    fn prepare(&self, look: &Look, payload: &Payload, edits: Vec<Edit>) -> Result<Journal> {
        let before = Record::read()?;
        let folders = missing_folders(edits.iter().map(|edit| edit.path.as_path()));
        let mut record = before.clone().unwrap_or_default();
        for edit in &edits {
            let known = record.known(&edit.path);
            let original = match known {
                Some(known) if known.ours == edit.text.before => known.original.clone(),
                // Somebody has written it since: then its original is this without us.
                Some(_) => without_us(look, edit)?,
                None => edit.text.before.clone(),
            };
            record.files.retain(|file| file.path != edit.path);
            let ours = edit.text.after.clone();
            record.files.push(Known { path: edit.path.clone(), original, ours });
        }
        // What is as wanted already, and nobody's memory, as after a loss of the record: and the line that imports it.
        let mut seen = wherry_containerd::remove(&look.node)?.changes;
        seen.retain(|change| record.known(&change.path).is_none());
        for Change { path, text: original } in seen.into_iter().rev() {
            let ours = content(&path)?;
            if ours != original {
                record.files.push(Known { path, original, ours });
            }
        }
        if !self.order.shim.is_empty() {
            record.shim = self.order.shim.clone();
        }
        record.revision = self.order.revision.clone();
        record.digest = payload.digest.clone();
        record.handlers = self.handlers();
        record.folders.extend(folders.iter().cloned());
        let forgets = before.iter().flat_map(|record| record.handlers.iter());
        let forgets = forgets.filter(|name| !record.handlers.contains(name)).cloned().collect();
        let journal = Journal {
            transaction: self.order.transaction.clone(),
            id: Journal::id(),
            stage: Stage::Prepared,
            files: edits,
            folders,
            link: Turn { before: revision::current(), after: Some(payload.folder()) },
            handlers: self.order.handlers.clone(),
            forgets,
            record: Turn { before, after: Some(record) },
            containers: Cri::connect(&look.daemon.address)?.running()?,
            daemon: self.daemon(look),
        };
        journal.begin()?;
        Ok(journal)
    }

    pub(super) fn installed(&self, report: &mut Report, plan: &Plan) -> Result<()> {
        let Some(change) = plan.changes.first() else { return Ok(()) };
        let text = content(&change.path)?.unwrap_or_default();
        let revision = Record::read()?.map(|record| record.revision).unwrap_or_default();
        report.installed = Some(Installed {
            revision,
            binary_digest: revision::shim_in_use().unwrap_or_default(),
            config_digest: revision::sha256(text.as_bytes()),
            config_path: change.path.display().to_string(),
            method: method(&plan.way),
        });
        Ok(())
    }
}

fn without_us(look: &Look, edit: &Edit) -> Result<Option<String>> {
    let removal = wherry_containerd::remove(&look.node)?;
    let change = removal.changes.into_iter().find(|change| change.path == edit.path);
    Ok(change.map_or_else(|| edit.text.before.clone(), |change| change.text))
}
