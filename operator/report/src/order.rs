//! An order: all that an agent knows of what the cluster wants.

use serde::{Deserialize, Serialize};

/// One piece of work on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    pub command: Command,
    /// Names the piece of work: the same for each try to do it.
    pub transaction: String,
    /// The node's name in the cluster.
    pub node: String,
    /// The machine that is meant. A node of the same name may have become another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The `WasmShim` whose work it is. What another one has installed stays; empty, if a person asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shim: String,
    /// The `ShimRevision` that the node is to run, or to be rid of.
    pub revision: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<Handler>,
    #[serde(default)]
    pub restart: Restart,
    #[serde(default)]
    pub when_in_use: WhenInUse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Tells what [`Command::Apply`] would do, and does nothing.
    Plan,
    /// Makes the node as wanted, and proves it by a container.
    Apply,
    /// Looks whether the node is as wanted, proves it by a container, and repairs nothing.
    Verify,
    /// Leaves the node as it was before the first [`Command::Apply`].
    Remove,
}

/// A name under which containerd offers the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Handler {
    pub name: String,
    /// The shim's options, as TOML. Empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
}

/// When containerd may be restarted, if its configuration must change at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restart {
    pub policy: RestartPolicy,
    /// How long the old configuration stays ready to be put back, in seconds, unless the proof comes.
    pub guard_timeout_s: u32,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { policy: RestartPolicy::Auto, guard_timeout_s: 180 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RestartPolicy {
    /// As soon as the configuration is in place.
    #[default]
    Auto,
    /// Not by us: somebody else restarts containerd or the node.
    Never,
    /// The node's next boot is waited for.
    OnNextBoot,
}

/// What becomes of containers of the shim when it is to be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WhenInUse {
    /// The removal is refused while there are any.
    #[default]
    Block,
    /// Their pods are evicted, and then there are none.
    Drain,
    /// They lose their shim.
    Force,
}

/// An order that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{} is no order", crate::ORDER_VARIABLE)]
pub struct Invalid(#[source] serde_json::Error);

impl Order {
    /// # Errors
    /// Whatever is not an order, or has a field that this version does not know.
    pub fn parse(text: &str) -> Result<Order, Invalid> {
        serde_json::from_str(text).map_err(Invalid)
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("an order is JSON")
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    const SHORT: &str = r#"{"command":"Remove","transaction":"t1","node":"n1","revision":"r1"}"#;

    #[test]
    fn what_an_order_does_not_say_is_the_careful_choice() {
        let order = Order::parse(SHORT).unwrap();
        assert_eq!(order.when_in_use, WhenInUse::Block);
        assert_eq!(order.restart, Restart { policy: RestartPolicy::Auto, guard_timeout_s: 180 });
        assert_eq!(Order::parse(&order.text()).unwrap(), order);
    }

    #[test]
    fn a_field_that_cannot_be_honoured_is_refused_by_its_name() {
        let newer = SHORT.replace("\"node\"", "\"cordon\":true,\"node\"");
        let refused = Order::parse(&newer).unwrap_err();
        assert!(refused.source().unwrap().to_string().contains("`cordon`"), "{refused:?}");
    }
}
