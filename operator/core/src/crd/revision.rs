//! A revision: all that a node needs, under a name made of its content.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::short_hash;
use super::shim::WasmShimSpec;

/// An artifact with its handlers, which never changes: a rollback is to name an older one.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wherry.dev",
    version = "v1alpha1",
    kind = "ShimRevision",
    shortname = "wsr",
    derive = "PartialEq",
    doc = "An artifact with its handlers, which never changes.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self == oldSelf",
    "message": "a revision never changes: change the WasmShim, which makes another",
}]))]
pub struct RevisionSpec {
    /// The image of the node agent, with its digest.
    #[schemars(length(max = 512))]
    pub image: String,
    #[schemars(length(min = 1, max = 8))]
    pub handlers: Vec<wherry_report::Handler>,
}

/// The revision that this spec asks for, with its name.
pub fn revision_of(shim: &str, spec: &WasmShimSpec) -> (String, RevisionSpec) {
    let handlers = spec.handlers.iter().map(|handler| wherry_report::Handler {
        name: handler.name.clone(),
        options: handler.options.clone(),
    });
    let revision =
        RevisionSpec { image: spec.artifact.image.clone(), handlers: handlers.collect() };
    let content = serde_json::to_vec(&revision).expect("a revision is JSON");
    (format!("{shim}-{}", short_hash(&content)), revision)
}
