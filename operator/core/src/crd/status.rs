//! How far a `WasmShim` is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Written by the operator, whole each time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WasmShimStatus {
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default)]
    pub phase: RolloutPhase,
    /// What the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<String>,
    /// The last that every wave of a rollout ended with: what a rollback goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_revision: Option<String>,
    /// What that was before: where a rollback goes that its administrator asks for when all waves are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_good_revision: Option<String>,
    /// A revision that spent its budget, or was given up. No node gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveStatus>,
    #[serde(default)]
    pub nodes: Counts,
    /// What nodes wait for that are to be cleaned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub waits: Vec<String>,
    /// Some of the nodes that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Nodes are being changed, or wait for their wave.
    #[default]
    Progressing,
    /// A wave is watched.
    Soaking,
    /// Every node is as wanted.
    Complete,
    /// Nodes have their files, and nothing is proved until somebody restarts containerd there.
    AwaitingRestart,
    /// By the administrator.
    Paused,
    /// For the annotation that approves the revision.
    AwaitingApproval,
    /// For a window to open.
    AwaitingWindow,
    /// The target spent its budget.
    RolledBack,
    /// The object is being deleted.
    Removing,
    /// The spec cannot be done, as the condition `Accepted` says. No node gets an order.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    pub revision: String,
    pub message: String,
}

/// The annotation `wherry.dev/retry`: what failed before it does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    pub value: String,
    pub since: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    pub name: String,
    /// From 0.
    pub index: u32,
    /// How many nodes it and those before it have.
    pub nodes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_until: Option<Time>,
}

/// Nodes, each in one of these but for `desired`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    pub desired: u32,
    /// Run the revision that is wanted of them.
    pub ready: u32,
    /// Have run none of it yet.
    pub pending: u32,
    pub progressing: u32,
    pub pending_restart: u32,
    pub failed: u32,
    pub drifted: u32,
    pub unsupported: u32,
    pub held: u32,
    /// Not selected any more, or the object is being deleted, and not clean yet.
    pub removing: u32,
    /// `ready/desired`, for a column.
    pub summary: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub node: String,
    pub message: String,
    pub since: Time,
}
