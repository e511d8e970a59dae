//! What containerd's CRI plugin says of itself (k8s.io/cri-api, `runtime/v1/api.proto`, `Status`): the fields that are
//! used, by hand, since generating them takes `protoc`.

use std::collections::HashMap;

use prost::Message;

/// The call that takes a [`StatusRequest`] and answers a [`Status`].
pub const STATUS: &str = "/runtime.v1.RuntimeService/Status";

#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {
    /// With [`Status::info`].
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Conditions>,
    /// Everything else, as JSON by subject.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
    /// None before containerd 2.0.
    #[prost(message, repeated, tag = "3")]
    pub handlers: Vec<Handler>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Conditions {
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Condition {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(bool, tag = "2")]
    pub status: bool,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Handler {
    #[prost(string, tag = "1")]
    pub name: String,
}

impl Status {
    /// Whether containers can be run, and what is said to that.
    #[must_use]
    pub fn runtime(&self) -> (bool, String) {
        let mut conditions = self.status.iter().flat_map(|all| &all.conditions);
        let runtime = conditions.find(|one| one.kind == "RuntimeReady");
        runtime.map_or_else(Default::default, |one| {
            (one.status, format!("{} {}", one.reason, one.message))
        })
    }

    /// The plugin's configuration as it is in effect, as JSON.
    #[must_use]
    pub fn config(&self) -> Option<&str> {
        self.info.get("config").map(String::as_str)
    }
}
