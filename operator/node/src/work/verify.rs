//! Whether the node is as wanted. Nothing is repaired.

use anyhow::{Context, Result};
use wherry_containerd::Refusal;
use wherry_report::{Installed, Method, Outcome, Report};

use super::{Ended, Job, diff, edits, in_use};
use crate::journal::Journal;
use crate::revision;

impl Job {
    pub(super) fn verify(&self, report: &mut Report) -> Result<Ended> {
        let look = self.look(report)?;
        report.in_use = in_use(&look);
        let plan = match self.install(&look.node) {
            Ok(plan) => plan,
            // Others have brought it there, and whether it works is all that there is to see.
            Err(Refusal::ElsewhereOnly { distribution, .. }) => {
                self.look_whether(&look, report)?;
                report.installed = Some(Installed {
                    revision: String::new(),
                    binary_digest: String::new(),
                    config_digest: String::new(),
                    config_path: String::new(),
                    method: Method::External,
                });
                return Ok((
                    Outcome::Ready,
                    format!("a container ran; {distribution} has its own installation"),
                ));
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
            && revision::current() != Some(payload.folder())
        {
            return Ok((
                Outcome::Drifted,
                "other programs are in use than those of this revision".into(),
            ));
        }
        if let Err(error) = self.look_whether(&look, report) {
            let waits = Journal::read()?.is_some();
            let outcome = if waits { Outcome::PendingRestart } else { Outcome::Failed };
            return Ok((outcome, format!("{error:#}")));
        }
        let handlers = self.handlers();
        let first = handlers.first().context("the order names no handler")?;
        Ok((Outcome::Ready, format!("a container ran under {first}")))
    }
}
