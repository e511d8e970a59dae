//! From the journal to the proof, or back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wherry_containerd::Distribution;
use wherry_report::{Outcome, Proof, Report, RestartPolicy, Transaction};

use super::{Ended, Job};
use crate::cri::{self, Cri, Wish};
use crate::journal::{Daemon, Journal, Stage, Supervisor};
use crate::look::Look;
use crate::{durable, guard, revision, undo};

/// How far it came.
enum Come {
    Proven,
    /// Somebody else has to start containerd again.
    Waits,
}

impl Job {
    /// Does what is left to do of it. Whatever fails puts back what was before.
    pub(super) fn carry_out(
        &self,
        mut journal: Journal,
        look: &Look,
        report: &mut Report,
        began: Instant,
    ) -> Result<Ended> {
        let mut cost = Transaction { id: journal.transaction.clone(), ..Transaction::default() };
        let come = self.steps(&mut journal, look, report, &mut cost);
        cost.total_ms = millis(began.elapsed());
        // What another run had left may have taken one, too.
        if let Some(before) = report.last_transaction.take().filter(|before| before.restarted) {
            cost.restarted = true;
            cost.restart_ms += before.restart_ms;
            cost.cri_down_ms += before.cri_down_ms;
        }
        report.last_transaction = Some(cost);
        match come {
            Ok(Come::Waits) => Ok((
                Outcome::PendingRestart,
                "containerd has to be started again, and that is left to somebody else".into(),
            )),
            Ok(Come::Proven) => {
                undo::finish(&journal)?;
                let Some(record) = &journal.record.after else {
                    return Ok((
                        Outcome::Removed,
                        "nothing of ours is on the node any more".into(),
                    ));
                };
                let kept: Vec<_> = journal.link.before.iter().cloned().collect();
                let bundles: Vec<_> =
                    look.bundles().into_iter().map(|bundle| bundle.program).collect();
                revision::collect(&kept, &bundles)?;
                let plan = self.install(&Look::at(&self.place)?.node)?;
                self.installed(report, &plan)?;
                Ok((
                    Outcome::Ready,
                    format!("a container ran under {}", record.handlers.join(", ")),
                ))
            }
            Err(why) => match undo::undo(&journal) {
                Ok(restarted) => {
                    if let Some(cost) = &mut report.last_transaction {
                        cost.restarted |= restarted;
                    }
                    let waits = !restarted && !journal.files.is_empty() && !self.may_restart();
                    let how = match waits {
                        true => {
                            "its files are as before, and containerd has to be started again by somebody else"
                        }
                        false => "the node is as before",
                    };
                    Ok((Outcome::Reverted, format!("{why:#}; {how}")))
                }
                Err(worse) => bail!("{why:#}; and putting back what was before failed: {worse:#}"),
            },
        }
    }

    fn steps(
        &self,
        journal: &mut Journal,
        look: &Look,
        report: &mut Report,
        cost: &mut Transaction,
    ) -> Result<Come> {
        let may_restart = self.may_restart();
        let guarded = Duration::from_secs(u64::from(self.order.restart.guard_timeout_s));
        if may_restart {
            guard::arm(&self.own, journal, guarded)?;
        }
        if journal.stage == Stage::Prepared || undo::has_begun(journal)? {
            commit(journal)?;
        }
        if journal.stage == Stage::Committed {
            let loads_itself = look.node.distribution == Distribution::K0s;
            // Whatever was changed now, or by whom: what it has not read does not hold.
            if !loads_itself && !is_loaded(journal) {
                if !may_restart || journal.daemon.supervisor == Supervisor::Nobody {
                    return Ok(Come::Waits);
                }
                let began = Instant::now();
                cost.restarted = undo::restart(&journal.daemon)?;
                cost.restart_ms = millis(began.elapsed());
                cri::wait(&journal.daemon.address, &Wish::default(), undo::READY)?;
                cost.cri_down_ms = millis(began.elapsed());
            }
            journal.reach(Stage::Restarted)?;
        }
        // What is not there and was not looked for anew will not come.
        let is_new = cost.restarted || !journal.files.is_empty();
        let patience = if is_new { undo::READY } else { Duration::ZERO };
        self.prove(journal, look, report, patience)?;
        journal.reach(Stage::Proven)?;
        Ok(Come::Proven)
    }

    /// CRI is ready, knows what it has to, has its containers still; and a container runs.
    fn prove(
        &self,
        journal: &Journal,
        look: &Look,
        report: &mut Report,
        patience: Duration,
    ) -> Result<()> {
        let address = &journal.daemon.address;
        cri::wait(address, &wish(journal), patience)?;
        let mut cri = Cri::connect(address)?;
        let proof = report.proof.insert(Proof { handler_listed: true, ..Proof::default() });
        let (before, survived) = (journal.containers.len(), cri.survived(&journal.containers)?);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (proof.containers_before, proof.containers_survived) = (count(before), count(survived));
        if survived < before {
            bail!("{} of {before} containers were lost", before - survived);
        }
        for handler in &journal.handlers {
            let took = cri.smoke(&handler.name, &self.smoke(look)?)?;
            proof.container_ms = proof.container_ms.max(millis(took));
            proof.container_ran = true;
        }
        Ok(())
    }

    fn may_restart(&self) -> bool {
        self.order.restart.policy == RestartPolicy::Auto
    }

    /// The daemon, and who starts it again for this order.
    pub(super) fn daemon(&self, look: &Look) -> Daemon {
        match self.may_restart() {
            true => look.daemon.clone(),
            false => Daemon { supervisor: Supervisor::Nobody, ..look.daemon.clone() },
        }
    }

    /// As [`Job::prove`], of a node that is left as it is, whoever has brought the handlers there.
    pub(super) fn look_whether(&self, look: &Look, report: &mut Report) -> Result<()> {
        let handlers = self.handlers();
        let wish = Wish { named: &handlers, ..Wish::default() };
        cri::wait(&look.daemon.address, &wish, Duration::ZERO)?;
        let proof = report.proof.insert(Proof { handler_listed: true, ..Proof::default() });
        let mut cri = Cri::connect(&look.daemon.address)?;
        for handler in &handlers {
            let took = cri.smoke(handler, &self.smoke(look)?)?;
            proof.container_ms = proof.container_ms.max(millis(took));
            proof.container_ran = true;
        }
        Ok(())
    }
}

/// Everything into its place. The programs first: a handler is never without them.
fn commit(journal: &mut Journal) -> Result<()> {
    let removes = journal.link.after.is_none();
    if !removes {
        undo::point_to(journal.link.after.as_deref())?;
    }
    for folder in &journal.folders {
        durable::folders(folder)?;
    }
    for edit in &journal.files {
        let now = undo::content(&edit.path)?;
        if now != edit.text.after {
            if now != edit.text.before {
                bail!("{} was changed by somebody else meanwhile", edit.path.display());
            }
            durable::keep(&edit.path)?;
            undo::put(&edit.path, edit.text.after.as_deref())
                .with_context(|| format!("while changing {}", edit.path.display()))?;
        }
    }
    journal.reach(Stage::Committed)
}

/// Whether containerd has started on these files already.
fn is_loaded(journal: &Journal) -> bool {
    cri::wait(&journal.daemon.address, &wish(journal), Duration::ZERO).is_ok()
}

fn wish(journal: &Journal) -> Wish<'_> {
    Wish { loaded: &journal.handlers, named: &[], forgotten: &journal.forgets }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
