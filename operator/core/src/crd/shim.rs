//! `WasmShim`: what an administrator writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wherry_report::{RestartPolicy, WhenInUse};

use super::share::Share;
use super::status::WasmShimStatus;

/// As kube reads and writes them: `90s`, `10m`, `1h30m`.
pub type Period = kube::core::Duration;

/// Wherry on the nodes of a cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wherry.dev",
    version = "v1alpha1",
    kind = "WasmShim",
    shortname = "ws",
    status = "WasmShimStatus",
    derive = "PartialEq",
    doc = "Wherry on the nodes of a cluster: what is to run there, and how it gets there.",
    validation = kube::core::cel::Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$')")
        .message("the name becomes a part of others: at most 32 letters, digits and '-', a letter first"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Wave", type_ = "string", json_path = ".status.wave.name"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.nodes.failed"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.targetRevision", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WasmShimSpec {
    #[serde(default)]
    pub mode: Mode,
    pub artifact: Artifact,
    #[schemars(length(min = 1, max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [
            {
                "rule": "oldSelf.all(o, self.exists(n, n.name == o.name))",
                "message": "a handler stays, as pods may ask for it: add another, or delete the WasmShim",
            },
            {
                "rule": "oldSelf.all(o, self.all(n, n.name != o.name || n.runtimeClassName == o.runtimeClassName))",
                "message": "a handler keeps its RuntimeClass, as pods may name it",
            },
        ],
    ))]
    pub handlers: Vec<Handler>,
    #[serde(default)]
    pub nodes: Nodes,
    #[serde(default)]
    pub rollout: Rollout,
    #[serde(default)]
    pub restart: Restart,
    #[serde(default)]
    pub drift: Drift,
    #[serde(default)]
    pub uninstall: Uninstall,
    /// How many revisions are kept that no node runs.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 50))]
    pub revision_history_limit: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Nodes are changed.
    #[default]
    Managed,
    /// Nodes are proved and labelled; what they run is brought there by others, as in their image.
    VerifyOnly,
    /// Every node tells what would be done to it.
    Plan,
}

/// What nodes run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The image of the node agent, which carries the shim. With its digest: a tag can change its mind.
    #[schemars(length(max = 512), regex(pattern = r"^[a-z0-9][^@\s]*@sha256:[0-9a-f]{64}$"))]
    pub image: String,
}

/// A name under which nodes offer the shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    /// containerd's.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What pods name. It is made and kept by the operator.
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub runtime_class_name: String,
    /// The shim's options on the node, as TOML.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub options: String,
    /// What the scheduler adds to a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_overhead: Option<Overhead>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overhead {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::checked::quantity")]
    pub cpu: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::checked::quantity")]
    pub memory: Option<Quantity>,
}

/// Where pods of a handler go, besides to proved nodes only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::checked::tolerations")]
    pub tolerations: Vec<Toleration>,
}

/// Which nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// All, if it says nothing.
    #[serde(default)]
    #[schemars(schema_with = "super::select::schema")]
    pub selector: LabelSelector,
    /// Of the agent's pods.
    #[serde(default = "tolerate_all")]
    #[schemars(schema_with = "super::checked::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// A restart of their containerd may end the API server for a while.
    #[serde(default)]
    pub control_plane: ControlPlane,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ControlPlane {
    #[default]
    Exclude,
    Include,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// One after the other, each with the nodes of those before it.
    #[serde(default = "default_waves")]
    #[schemars(length(min = 1, max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [{
            "rule": "type(self[size(self) - 1].nodes) == string && self[size(self) - 1].nodes == '100%'",
            "message": "the last wave has 100% of the nodes",
        }],
    ))]
    pub waves: Vec<Wave>,
    /// Nodes that are being changed or not ready, at most, all at once.
    #[serde(default = "ten_percent")]
    pub max_unavailable: Share,
    /// Agents at work at once, those that change nothing among them.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_parallel: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Nodes of a wave that may fail before it is stopped. A wave of which no node succeeds is stopped whatever this says.
    #[serde(default = "three")]
    pub failure_budget: Share,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// For one node.
    #[serde(default = "fifteen_minutes")]
    #[schemars(regex(pattern = "^(0ns|([0-9]{1,6}(h|m|s)){1,3})$"))]
    pub progress_deadline: Period,
    #[serde(default)]
    pub pace: Pace,
    /// When nodes may be changed; always, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<Window>,
    #[serde(default)]
    pub approval: Approval,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pace {
    #[default]
    Running,
    /// Work that has begun ends; no other begins.
    Paused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    #[schemars(length(min = 1, max = 32))]
    pub name: String,
    pub nodes: Share,
    /// How long its nodes are watched before the next wave.
    #[serde(default = "no_time")]
    #[schemars(regex(pattern = "^(0ns|([0-9]{1,6}(h|m|s)){1,3})$"))]
    pub soak: Period,
}

/// Never many nodes of one zone, rack or pool at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    pub max_per_domain: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Nodes stay as they are.
    Pause,
    /// The nodes that failed go back to the last revision that was good.
    #[default]
    RollbackFailed,
    /// So do all others of this rollout.
    RollbackAll,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    #[default]
    Automatic,
    /// A revision waits for the annotation `wherry.dev/approved-revision` with its name.
    Manual,
}

/// A time when nodes may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens: minute, hour, day, month, weekday.
    #[schemars(length(min = 9, max = 128), regex(pattern = super::cron::PATTERN))]
    pub cron: String,
    #[schemars(regex(pattern = "^(0ns|([0-9]{1,6}(h|m|s)){1,3})$"))]
    pub duration: Period,
    /// Of the IANA database, as `Europe/Prague`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    #[serde(default)]
    pub policy: RestartPolicy,
    /// How long the old configuration stays ready to be put back unless the proof comes.
    #[serde(default = "three_minutes")]
    #[schemars(regex(pattern = "^(0ns|([0-9]{1,6}(h|m|s)){1,3})$"))]
    pub guard_timeout: Period,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    #[serde(default)]
    pub action: DriftAction,
    /// How often a node is looked at that shows no change.
    #[serde(default = "a_day")]
    #[schemars(regex(pattern = "^(0ns|([0-9]{1,6}(h|m|s)){1,3})$"))]
    pub verify_interval: Period,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftAction {
    #[default]
    Repair,
    /// The node loses its label, and is told of.
    Report,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uninstall {
    #[serde(default)]
    pub when_in_use: WhenInUse,
}

const MINUTE: u64 = 60;

fn period(seconds: u64) -> Period {
    Duration::from_secs(seconds).into()
}

fn default_waves() -> Vec<Wave> {
    let wave = |name: &str, nodes, soak| Wave { name: name.into(), nodes, soak: period(soak) };
    vec![
        wave("canary", Share::Count(1), 10 * MINUTE),
        wave("early", Share::Percent(5), 10 * MINUTE),
        wave("rest", Share::Percent(100), 0),
    ]
}

fn tolerate_all() -> Vec<Toleration> {
    vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }]
}

fn three() -> Share {
    Share::Count(3)
}

fn five() -> u32 {
    5
}

fn fifty() -> u32 {
    50
}

fn ten_percent() -> Share {
    Share::Percent(10)
}

fn no_time() -> Period {
    period(0)
}

fn three_minutes() -> Period {
    period(3 * MINUTE)
}

fn fifteen_minutes() -> Period {
    period(15 * MINUTE)
}

fn a_day() -> Period {
    period(24 * 60 * MINUTE)
}

fn utc() -> String {
    "UTC".into()
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes {
            selector: LabelSelector::default(),
            tolerations: tolerate_all(),
            control_plane: ControlPlane::default(),
        }
    }
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout {
            waves: default_waves(),
            max_unavailable: ten_percent(),
            max_parallel: fifty(),
            spread: None,
            failure_budget: three(),
            on_failure: OnFailure::default(),
            progress_deadline: fifteen_minutes(),
            pace: Pace::default(),
            windows: Vec::new(),
            approval: Approval::default(),
        }
    }
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { policy: RestartPolicy::default(), guard_timeout: three_minutes() }
    }
}

impl Default for Drift {
    fn default() -> Drift {
        Drift { action: DriftAction::default(), verify_interval: a_day() }
    }
}
