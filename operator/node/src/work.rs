//! The work of an order, step by step. What each step may not do any more, the report says.

mod apply;
mod prove;
mod remove;
mod verify;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use wherry_containerd::{Change, Node, Wanted, Way};
use wherry_report::{
    Command, Container, Finding, Method, Order, Outcome, Report, RestartPolicy, Runtime, Severity,
    Transaction,
};

use crate::args::Place;
use crate::cri::Smoke;
use crate::journal::{Daemon, Edit, Journal, Record, Stage, Supervisor, Turn};
use crate::look::{Bundle, Look};
use crate::revision::Payload;
use crate::systemd::Systemd;
use crate::{cri, home, lock, undo};

/// An order, and what it takes to carry it out.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) order: Order,
    pub(crate) place: Place,
    /// None if none is needed, as for a removal.
    pub(crate) payload: Option<Payload>,
    /// This program.
    pub(crate) own: Vec<u8>,
}

/// How it ended, in a word and in a sentence.
pub(crate) type Ended = (Outcome, String);

impl Job {
    /// Does it. What became of it is in the report, and nowhere else.
    pub(crate) fn run(&self) -> Report {
        let mut report = self.blank();
        let ended = self.identified(&report).and_then(|()| match self.order.command {
            Command::Plan => self.plan(&mut report),
            Command::Apply => self.apply(&mut report),
            Command::Verify => self.verify(&mut report),
            Command::Remove => self.remove(&mut report),
        });
        (report.outcome, report.message) =
            ended.unwrap_or_else(|error| (Outcome::Failed, format!("{error:#}")));
        report
    }

    fn blank(&self) -> Report {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Report {
            transaction: self.order.transaction.clone(),
            revision: self.order.revision.clone(),
            outcome: Outcome::Failed,
            message: String::new(),
            node: wherry_report::Node {
                machine_id: line("/etc/machine-id"),
                boot_id: line("/proc/sys/kernel/random/boot_id"),
            },
            runtime: None,
            installed: None,
            proof: None,
            last_transaction: None,
            in_use: Vec::new(),
            diff: String::new(),
            findings: Vec::new(),
        }
    }

    /// A node of this name may be another machine by now.
    fn identified(&self, report: &Report) -> Result<()> {
        match &self.order.machine_id {
            Some(meant) if *meant != report.node.machine_id => bail!(
                "the order is for the machine {meant}, and this is {}: nothing was done",
                report.node.machine_id
            ),
            _ => Ok(()),
        }
    }

    fn look(&self, report: &mut Report) -> Result<Look> {
        let look = Look::at(&self.place)?;
        let kill_mode = match &look.daemon.supervisor {
            Supervisor::Unit(unit) => Systemd::connect()?.unit(unit)?.kill_mode,
            Supervisor::Command(_) | Supervisor::Nobody => String::new(),
        };
        report.runtime = Some(Runtime {
            name: "containerd".into(),
            version: look.version.clone(),
            config_version: look.config_version,
            unit: look.unit.clone(),
            kill_mode,
            distribution: look.node.distribution.to_string(),
        });
        if look.node.distribution == wherry_containerd::Distribution::Eks {
            report.findings.push(Finding {
                code: "RegeneratedAtBoot".into(),
                severity: Severity::Info,
                message:
                    "nodeadm writes containerd's main file at every boot: what is changed there is \
                          changed again after a boot"
                        .into(),
            });
        }
        Ok(look)
    }

    fn handlers(&self) -> Vec<String> {
        self.order.handlers.iter().map(|handler| handler.name.clone()).collect()
    }

    /// What brings the order's handlers to this node.
    fn install(&self, node: &Node) -> Result<wherry_containerd::Plan, wherry_containerd::Refusal> {
        let wanted =
            |handler: &'_ wherry_report::Handler| (handler.name.clone(), handler.options.clone());
        let wanted: Vec<(String, String)> = self.order.handlers.iter().map(wanted).collect();
        let wanted: Vec<Wanted<'_>> = wanted
            .iter()
            .map(|(name, options)| Wanted { name, program: home::SHIM, options })
            .collect();
        wherry_containerd::install(node, &wanted)
    }

    /// What there is to say on a node that has what another `WasmShim` has installed.
    fn anothers(&self) -> Result<Option<String>> {
        let (record, journal) = (Record::read()?, Journal::read()?);
        let owner = Record::anothers(record.as_ref(), journal.as_ref(), &self.order.shim);
        Ok(owner.map(|owner| {
            format!(
                "the WasmShim {owner} has its shim on this node, and a node has one: select other nodes, or take \
                 this one from {owner} first"
            )
        }))
    }

    fn plan(&self, report: &mut Report) -> Result<Ended> {
        if let Some(why) = self.anothers()? {
            return Ok((Outcome::Failed, why));
        }
        let look = self.look(report)?;
        let plan = match self.install(&look.node) {
            Ok(plan) => plan,
            Err(refusal) => return Ok((unable(&refusal), refusal.to_string())),
        };
        let edits = edits(&plan.changes)?;
        report.diff = edits.iter().map(diff).collect();
        let mut message = match edits.is_empty() {
            true => "containerd's configuration stays as it is".to_owned(),
            false => format!("containerd is told {}", in_words(&plan.way)),
        };
        if let Some(payload) = &self.payload
            && crate::revision::current() != Some(payload.folder())
        {
            message.push_str(", and the programs are new");
        }
        Ok((Outcome::Planned, message))
    }

    fn smoke(&self, look: &Look) -> Result<Smoke> {
        let Some(image) = &self.place.smoke else {
            bail!("no image for the proof is named: --smoke, or WHERRY_SMOKE_IMAGE");
        };
        Ok(Smoke {
            image: image.clone(),
            program: "/smoke.wat".into(),
            cgroup_parent: look.cgroup_parent(),
        })
    }

    /// What another run has left: finished if it was proved; else undone, unless it was this very work.
    fn inherit(&self, wanted: Option<&Payload>, report: &mut Report) -> Result<Option<Journal>> {
        let Some(journal) = Journal::read()? else { return Ok(None) };
        if journal.stage == Stage::Proven {
            undo::finish(&journal)?;
            return Ok(None);
        }
        let is_this = match (&journal.record.after, wanted) {
            (None, None) => true,
            (Some(record), Some(payload)) => {
                record.digest == payload.digest
                    && record.revision == self.order.revision
                    && journal.handlers == self.order.handlers
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_this {
            return Ok(Some(journal));
        }
        let supervisor = match self.order.restart.policy {
            RestartPolicy::Auto => journal.daemon.supervisor.clone(),
            RestartPolicy::Never | RestartPolicy::OnNextBoot => Supervisor::Nobody,
        };
        let daemon = Daemon { supervisor, ..journal.daemon.clone() };
        let (id, began) = (journal.transaction.clone(), Instant::now());
        if undo::undo(&Journal { daemon, ..journal })? {
            let took = prove::millis(began.elapsed());
            report.last_transaction = Some(Transaction {
                id,
                restarted: true,
                restart_ms: took,
                cri_down_ms: took,
                total_ms: took,
            });
        }
        Ok(None)
    }

    /// Whether containerd may be restarted here at all.
    fn preflight(&self, look: &Look, report: &mut Report) -> Result<(), String> {
        let kill_mode = report.runtime.as_ref().map(|it| it.kill_mode.as_str()).unwrap_or_default();
        if !["", "process", "none"].contains(&kill_mode) {
            let message = format!(
                "{} has KillMode={kill_mode}: a restart of containerd would kill every pod of the node. Set \
                 KillMode=process, as containerd.service comes with",
                look.unit
            );
            report.findings.push(Finding {
                code: "KillModeNotProcess".into(),
                severity: Severity::Blocker,
                message: message.clone(),
            });
            return Err(message);
        }
        let state = cri::Cri::connect(&look.daemon.address).and_then(|mut cri| cri.state());
        match state {
            Ok(state) if state.ready => Ok(()),
            Ok(state) => {
                Err(format!("CRI is not ready before anything was done: {}", state.reason))
            }
            Err(error) => Err(format!("CRI does not answer before anything was done: {error:#}")),
        }
    }
}

/// Containers of ours, by the path that their shim was started by.
fn in_use(look: &Look) -> Vec<Container> {
    let is_ours = |bundle: &Bundle| bundle.program.starts_with(home::HOME);
    let ours = look.bundles().into_iter().filter(is_ours);
    ours.map(|bundle| Container { id: bundle.id, pod: bundle.pod }).collect()
}

fn unable(refusal: &wherry_containerd::Refusal) -> Outcome {
    match refusal {
        wherry_containerd::Refusal::ElsewhereOnly { .. } => Outcome::Unsupported,
        _ => Outcome::Failed,
    }
}

fn in_words(way: &Way) -> String {
    match way {
        Way::DropIn { file } => format!("by {}", file.display()),
        Way::Import { file, main } => {
            format!("by {}, and a line in {} that imports it", file.display(), main.display())
        }
        Way::InPlace { file } => format!("by a section in {}", file.display()),
        Way::Template { file, .. } => format!("by a section in the template {}", file.display()),
    }
}

fn method(way: &Way) -> Method {
    match way {
        Way::DropIn { file } if file.iter().any(|part| part == "wherry.d") => Method::DropInImport,
        Way::DropIn { .. } => Method::DropIn,
        Way::Import { .. } => Method::DropInImport,
        Way::InPlace { .. } | Way::Template { .. } => Method::InPlace,
    }
}

/// The changes that are none yet.
fn edits(changes: &[Change]) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for Change { path, text } in changes {
        let before = undo::content(path)?;
        if before != *text {
            edits.push(Edit { path: path.clone(), text: Turn { before, after: text.clone() } });
        }
    }
    Ok(edits)
}

/// What changes in a file, in one piece.
fn diff(edit: &Edit) -> String {
    let lines = |text: &Option<String>| -> Vec<String> {
        text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    };
    let (old, new) = (lines(&edit.text.before), lines(&edit.text.after));
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = (old.len() - same).min(new.len() - same);
    let ends = old.iter().rev().zip(new.iter().rev()).take(rest);
    let tail = ends.take_while(|(a, b)| a == b).count();
    let mut text = format!("--- {}\n@@ {} @@\n", edit.path.display(), same + 1);
    old[same..old.len() - tail].iter().for_each(|line| text.push_str(&format!("-{line}\n")));
    new[same..new.len() - tail].iter().for_each(|line| text.push_str(&format!("+{line}\n")));
    text
}

/// Takes the lock for work that changes something.
fn locked() -> Result<lock::Lock> {
    lock::take(lock::Wait::No)
}

/// Folders that are not there, above these files.
fn missing_folders<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<std::path::PathBuf> {
    let mut missing: Vec<_> = files
        .flat_map(|file| file.ancestors().skip(1).take_while(|folder| !folder.exists()))
        .map(Path::to_owned)
        .collect();
    missing.sort();
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_diff_is_one_piece() {
        let text = Turn { before: Some("a\nb\nc\n".into()), after: Some("a\nx\ny\nc\n".into()) };
        let told = diff(&Edit { path: "/f".into(), text });
        expect![[r#"
            --- /f
            @@ 2 @@
            -b
            +x
            +y
        "#]]
        .assert_eq(&told);
        let text = Turn { before: Some("a\na\n".into()), after: Some("a\na\na\n".into()) };
        assert!(diff(&Edit { path: "/f".into(), text }).ends_with("@@\n+a\n"));
        let text = Turn { before: None, after: Some("a\n".into()) };
        assert!(diff(&Edit { path: "/f".into(), text }).ends_with("@@ 1 @@\n+a\n"));
    }
}
