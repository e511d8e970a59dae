//! Whether the node is as wanted. Nothing is repaired.

use std::time::Duration;

use anyhow::{Context, Result};
use wherry_containerd::{NotEdited, Refusal};
use wherry_report::{Installed, Method, Outcome, Report};

use super::{Ended, Job, diff, edits, in_use};
use crate::cri::{self, Wish};
use crate::journal::Journal;
use crate::look::Look;
use crate::revision;

impl Job {
    pub(super) fn verify(&self, report: &mut Report) -> Result<Ended> {
        if let Some(why) = self.anothers()? {
            return Ok((Outcome::Failed, why));
        }
        let look = self.look(report)?;
        report.in_use = in_use(&look);
        let plan = match self.install(&look.node) {
            Ok(plan) => plan,
            // Others have brought it there, and whether it works is all that there is to see.
            Err(Refusal::ElsewhereOnly { distribution, .. }) => {
                let whose = format!("{distribution} has its own installation");
                return self.verify_external(&look, report, &whose);
            }
            Err(Refusal::NotEdited { file, source: NotEdited::Taken(_) }) => {
                let whose = format!("somebody has set it up in {}", file.display());
                return self.verify_external(&look, report, &whose);
            }
            Err(refusal) => return Ok((Outcome::Failed, refusal.to_string())),
        };
        self.installed(report, &plan)?;
        let edits = edits(&plan.changes)?;
        if !edits.is_empty() {
            report.diff = edits.iter().map(diff).collect();
            return Ok((
                Outcome::Drifted,
                "containerd's configuration is not as it was left".into(),
            ));
        }
        if let Some(payload) = &self.payload
            && (revision::current() != Some(payload.folder())
                || !payload.is_whole(&payload.folder()))
        {
            return Ok((
                Outcome::Drifted,
                "other programs are in use than those of this revision".into(),
            ));
        }
        let waits = Journal::read()?.is_some();
        // The files are right, and containerd began before they were.
        let wish = Wish { loaded: &self.order.handlers, ..Wish::default() };
        if let Err(error) = cri::wait(&look.daemon.address, &wish, Duration::ZERO) {
            let outcome = if waits { Outcome::PendingRestart } else { Outcome::Drifted };
            return Ok((outcome, format!("{error:#}")));
        }
        if let Err(error) = self.look_whether(&look, report) {
            let outcome = if waits { Outcome::PendingRestart } else { Outcome::Failed };
            return Ok((outcome, format!("{error:#}")));
        }
        let handlers = self.handlers();
        let first = handlers.first().context("the order names no handler")?;
        Ok((Outcome::Ready, format!("a container ran under {first}")))
    }

    fn verify_external(&self, look: &Look, report: &mut Report, whose: &str) -> Result<Ended> {
        self.look_whether(look, report)?;
        report.installed = Some(Installed {
            revision: String::new(),
            binary_digest: String::new(),
            config_digest: String::new(),
            config_path: String::new(),
            method: Method::External,
        });
        Ok((Outcome::Ready, format!("a container ran; {whose}")))
    }
}
