//! The three kinds of `wherry.dev/v1alpha1`, and the names that the operator gives to things.
//!
//! ```text
//! WasmShim      what an administrator wants, and how far it is
//!  └ ShimRevision   one artifact with its handlers; never changes
//! NodeShim      for each node of a WasmShim: what was decided, what was found
//! ```
//!
//! The schemas in `deploy/crds/` are made from these types: `UPDATE_EXPECT=1 cargo test -p wherry-operator-core`.

#![allow(clippy::duplicated_attributes, reason = "each column has a path of its own")]

mod checked;
mod cron;
mod names;
mod node;
mod revision;
mod select;
mod share;
mod shim;
mod status;

pub use names::*;
pub use node::{Action, NodeShim, NodeShimSpec, NodeShimStatus, Observation, Phase};
pub use revision::{RevisionSpec, ShimRevision, revision_of};
pub use select::BadSelector;
pub use share::Share;
pub use shim::{
    Approval, Artifact, ControlPlane, Drift, DriftAction, Handler, Mode, Nodes, OnFailure,
    Overhead, Pace, Period, Restart, Rollout, Scheduling, Spread, Uninstall, WasmShim,
    WasmShimSpec, Wave, Window,
};
pub use status::{Counts, Failure, Rejected, Retry, RolloutPhase, WasmShimStatus, WaveStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

/// All that a cluster must know before the operator starts.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [WasmShim::crd(), ShimRevision::crd(), NodeShim::crd()].map(|definition| {
        let mut json = serde_json::to_value(definition).expect("a definition is JSON");
        shorten(&mut json);
        serde_json::from_value(json).expect("a shorter definition is one")
    })
}

/// Keeps the first line of each description, as Kubernetes' own types come with pages, and formats that are known.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                let line = text.find('\n').unwrap_or(text.len());
                text.truncate(line);
            }
            // The API server knows no formats of numbers without a sign, and warns.
            if fields
                .get("format")
                .is_some_and(|it| it.as_str().is_some_and(|it| it.starts_with("uint")))
            {
                fields.remove("format");
            }
            fields.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
