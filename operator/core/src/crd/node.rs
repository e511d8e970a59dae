//! `NodeShim`: one node of a `WasmShim`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wherry_report::{Container, Finding, Installed, Outcome, Proof, Report, Runtime, Transaction};

/// What was decided for a node, and what was found there. Only the operator writes it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wherry.dev",
    version = "v1alpha1",
    kind = "NodeShim",
    shortname = "ns-wasm",
    status = "NodeShimStatus",
    derive = "PartialEq",
    doc = "What was decided for a node, and what was found there. Only the operator writes it.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.installed.revision"),
    printcolumn(name = "Runtime", type_ = "string", json_path = ".status.runtime.version"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.shim == oldSelf.shim && self.node == oldSelf.node",
        "message": "a NodeShim is of one node and one WasmShim",
    },
    {
        "rule": "self.attempt > oldSelf.attempt || self == oldSelf",
        "message": "another order has a higher number",
    },
]))]
pub struct NodeShimSpec {
    #[schemars(length(max = 63))]
    pub shim: String,
    #[schemars(length(max = 253))]
    pub node: String,
    /// A node of the same name may be another one.
    #[schemars(length(max = 64))]
    pub node_uid: String,
    #[schemars(length(max = 128))]
    pub revision: String,
    pub action: Action,
    /// Counts the orders of this node. It never goes back, so a Job is never made twice.
    pub attempt: u32,
    /// For which wave it was ordered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub wave: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    Install,
    Verify,
    Remove,
    Plan,
}

impl Action {
    /// It may restart containerd.
    pub fn disrupts(self) -> bool {
        match self {
            Action::Install | Action::Remove => true,
            Action::Verify | Action::Plan => false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeShimStatus {
    #[serde(default)]
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why the agent of the order that is under way has not begun, if its kubelet says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
    /// What the last order came to. An order with a higher number is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transaction: Option<Transaction>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<Container>,
    /// What a plan would change.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diff: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// For people; the planner reads [`Observation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    #[default]
    Working,
    Ready,
    Planned,
    PendingRestart,
    Failed,
    Reverted,
    Drifted,
    Unsupported,
    InUse,
    Removed,
}

/// What an order came to, and the node that it was true of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub attempt: u32,
    pub action: Action,
    pub revision: String,
    pub outcome: Outcome,
    /// A revision is installed, and a container proved it.
    pub proved: bool,
    /// The agent was not let onto the node, which says nothing of the revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_ran: bool,
    /// Orders in a row that failed for this revision.
    #[serde(default)]
    pub failures: u32,
    pub at: Time,
    pub node_uid: String,
    pub boot_id: String,
    pub machine_id: String,
    /// As the node tells it: `containerd://2.1.9`.
    pub runtime_version: String,
}

impl From<Outcome> for Phase {
    fn from(outcome: Outcome) -> Phase {
        match outcome {
            Outcome::Ready => Phase::Ready,
            Outcome::PendingRestart => Phase::PendingRestart,
            Outcome::Removed => Phase::Removed,
            Outcome::Planned => Phase::Planned,
            Outcome::Drifted => Phase::Drifted,
            Outcome::Unsupported => Phase::Unsupported,
            Outcome::InUse => Phase::InUse,
            Outcome::Reverted => Phase::Reverted,
            Outcome::Failed => Phase::Failed,
        }
    }
}

impl NodeShimStatus {
    /// What a report says, with what the operator knows beside it.
    pub fn new(observed: Observation, report: Report) -> NodeShimStatus {
        NodeShimStatus {
            phase: observed.outcome.into(),
            message: report.message,
            waits: String::new(),
            observed: Some(observed),
            runtime: report.runtime,
            installed: report.installed,
            proof: report.proof,
            last_transaction: report.last_transaction,
            in_use: report.in_use,
            diff: report.diff,
            findings: report.findings,
        }
    }
}
