//! A report: what one run of the agent found and did. It fits into a termination message.

use serde::{Deserialize, Serialize};

/// What kubelet keeps of a termination message, in bytes
/// (`MaxContainerTerminationMessageLength`, kubernetes `pkg/kubelet/container/runtime.go`).
pub const LIMIT: usize = 4096;

/// A text that is longer tells no more.
const TEXT: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The order's.
    pub transaction: String,
    /// The order's, once more: what the node was to run.
    pub revision: String,
    pub outcome: Outcome,
    /// One sentence for a person: why the outcome is this one.
    pub message: String,
    pub node: Node,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transaction: Option<Transaction>,
    /// Containers that run under the shim, the first few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<Container>,
    /// What [`crate::Command::Plan`] would change, as lines of a diff.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// How it ended. The node is as before the run unless the variant says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// The node runs the revision, and a container proved it.
    Ready,
    /// The revision is in place, and waits for containerd to be started again.
    PendingRestart,
    /// Nothing of ours is on the node any more.
    Removed,
    /// The work is known, and none was done.
    Planned,
    /// The node is not as it was left.
    Drifted,
    /// The node cannot be changed from here: its system has another way, which the findings name.
    Unsupported,
    /// Containers still need what was to be removed.
    InUse,
    /// The change was made, the proof did not come, and what was before was put back.
    Reverted,
    /// The work could not be done.
    Failed,
}

impl Outcome {
    /// The agent's exit code. A pod whose containers all end with 0 has `Succeeded`.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Ready | Outcome::PendingRestart | Outcome::Removed | Outcome::Planned => 0,
            Outcome::Failed => 1,
            Outcome::Reverted => 3,
            Outcome::Drifted => 4,
            Outcome::Unsupported => 5,
            Outcome::InUse => 6,
        }
    }
}

/// The machine that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub machine_id: String,
    pub boot_id: String,
}

/// The container runtime that really runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    pub name: String,
    pub version: String,
    /// The version of its root configuration file; 0 if the file names none.
    pub config_version: u32,
    /// systemd's unit; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kill_mode: String,
    /// As `kubeadm`, `k3s` or `Talos`.
    pub distribution: String,
}

/// What of ours is on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    pub revision: String,
    /// SHA-256 of the shim, in hexadecimal.
    pub binary_digest: String,
    /// SHA-256 of the file at `config_path`.
    pub config_digest: String,
    pub config_path: String,
    pub method: Method,
}

/// How containerd is told of the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Method {
    /// A file in a folder that containerd reads by itself.
    DropIn,
    /// A file in a folder that the root file imports by our line.
    DropInImport,
    /// In the file that owns the section.
    InPlace,
    /// By others, as in an image of the node.
    External,
}

/// What shows that containers run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// containerd's CRI lists the handlers.
    pub handler_listed: bool,
    /// A Wasm container ran and said what it should.
    pub container_ran: bool,
    /// From the request for its sandbox to its end, in milliseconds.
    pub container_ms: u64,
    /// Containers that ran before the change.
    pub containers_before: u32,
    /// How many of these ran after it, with the same ids.
    pub containers_survived: u32,
}

/// What the last change cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    pub id: String,
    pub restarted: bool,
    /// From the request for the restart until the unit was active, in milliseconds.
    pub restart_ms: u64,
    /// How long CRI did not answer, in milliseconds.
    pub cri_down_ms: u64,
    /// The whole run, in milliseconds.
    pub total_ms: u64,
}

/// A container under the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub id: String,
    /// `namespace/name` of its pod, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
}

/// Something about a node that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// As `KillModeNotProcess`.
    pub code: String,
    pub severity: Severity,
    /// What it is, and what to do about it.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Severity {
    Info,
    Warning,
    /// The work was not done because of it.
    Blocker,
}

impl Report {
    /// # Errors
    /// Whatever is not a report. Fields of newer agents are passed over.
    pub fn parse(text: &str) -> Result<Report, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As a termination message: what does not fit is left out, the least telling first, and the end of a text
    /// that was cut is `…`. The whole belongs into the log.
    pub fn message(&self) -> String {
        let mut report = self.clone();
        report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        report.clip(TEXT);
        for limit in [256, 128, 64] {
            if report.text().len() <= LIMIT {
                break;
            }
            report.clip(limit);
            report.diff.clear();
        }
        while report.text().len() > LIMIT && report.shed() {}
        report.text()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a report is JSON")
    }

    /// No text longer than this.
    fn clip(&mut self, limit: usize) {
        let in_use = self.in_use.iter_mut().flat_map(|it| [&mut it.id, &mut it.pod]);
        let findings = self.findings.iter_mut().flat_map(|it| [&mut it.code, &mut it.message]);
        let runtime = self.runtime.iter_mut().flat_map(|it| {
            [&mut it.name, &mut it.version, &mut it.unit, &mut it.kill_mode, &mut it.distribution]
        });
        let installed = self.installed.iter_mut().flat_map(|it| {
            [&mut it.revision, &mut it.binary_digest, &mut it.config_digest, &mut it.config_path]
        });
        let own = [
            &mut self.transaction,
            &mut self.revision,
            &mut self.message,
            &mut self.node.machine_id,
            &mut self.node.boot_id,
        ];
        let last = self.last_transaction.iter_mut().map(|it| &mut it.id);
        let texts = own.into_iter().chain(in_use).chain(findings).chain(runtime).chain(installed);
        texts.chain(last).for_each(|text| clip(text, limit));
        // Lines of a diff are worth more room than a sentence.
        clip(&mut self.diff, 4 * limit);
    }

    /// Lets go of one thing; `false` if nothing is left that can be spared.
    fn shed(&mut self) -> bool {
        self.in_use.pop().is_some()
            || self.findings.pop().is_some()
            || self.last_transaction.take().is_some()
            || self.runtime.take().is_some()
    }
}

/// Cuts at a character, so that the text with its mark has at most `limit` bytes.
fn clip(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if text.len() <= limit {
        return;
    }
    let mut end = limit - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(text: &str, count: usize) -> Report {
        let text = text.to_string();
        let finding = |severity| Finding { code: text.clone(), severity, message: text.clone() };
        let findings = (0..count).flat_map(|_| [Severity::Info, Severity::Blocker]).map(finding);
        let container = Container { id: text.clone(), pod: text.clone() };
        Report {
            transaction: text.clone(),
            revision: text.clone(),
            outcome: Outcome::Failed,
            message: text.clone(),
            node: Node { machine_id: text.clone(), boot_id: text.clone() },
            runtime: Some(Runtime {
                name: text.clone(),
                version: text.clone(),
                unit: text.clone(),
                kill_mode: text.clone(),
                distribution: text.clone(),
                config_version: 3,
            }),
            installed: Some(Installed {
                revision: text.clone(),
                binary_digest: text.clone(),
                config_digest: text.clone(),
                config_path: text.clone(),
                method: Method::InPlace,
            }),
            proof: Some(Proof::default()),
            last_transaction: Some(Transaction {
                id: text.clone(),
                restarted: true,
                restart_ms: u64::MAX,
                cri_down_ms: u64::MAX,
                total_ms: u64::MAX,
            }),
            in_use: vec![container; count],
            diff: text.clone(),
            findings: findings.collect(),
        }
    }

    #[test]
    fn a_report_that_fits_is_told_whole() {
        let mut small = report("a", 2);
        assert!(small.text().len() < LIMIT);
        // Blockers first.
        small.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        assert_eq!(Report::parse(&small.message()).unwrap(), small);
    }

    #[test]
    fn blockers_outlive_what_is_only_worth_knowing() {
        let told = Report::parse(&report(&"why ".repeat(40), 12).message()).unwrap();
        let blockers = told.findings.iter().filter(|it| it.severity == Severity::Blocker).count();
        assert_eq!(blockers, 12);
        assert!(told.findings.len() < 24, "all of them fit, so nothing was chosen");
    }

    #[test]
    fn fields_of_a_newer_agent_are_passed_over() {
        let newer = report("a", 0).text().replace("\"proof\"", "\"heat\":3,\"proof\"");
        assert_eq!(Report::parse(&newer).unwrap(), report("a", 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_message_is_a_report_and_fits(text in "\\PC{0,60}|[\"\\\\\u{0}-\u{1f}]{0,60}", times in 1..20_usize, count in 0..20_usize) {
            let whole = report(&text.repeat(times), count);
            let message = whole.message();
            prop_assert!(message.len() <= LIMIT, "{} bytes", message.len());
            let told = Report::parse(&message).unwrap();
            prop_assert_eq!(told.outcome, whole.outcome);
            prop_assert!(told.proof.is_some() && told.installed.is_some());
        }
    }
}
