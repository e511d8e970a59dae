//! Which nodes had a handler, and have it no longer.
//!
//! A kubelet tells the handlers of its runtime (`Node.status.runtimeHandlers`, Kubernetes 1.30), if the runtime tells
//! them (containerd from 2.0 on). Somebody's tool that writes containerd's configuration anew takes ours away with no
//! other trace in the API. Only a handler that was told before can be missed: a kubelet tells it some time after the
//! node has it, and some runtimes never do. What was told is forgotten with this process; then the node is looked at
//! when its time comes.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use wherry_operator_core::crd::WasmShim;

/// By shim and node: since when its handlers are gone, if they are.
#[derive(Debug, Default)]
pub(super) struct Handlers(HashMap<(String, String), Option<Timestamp>>);

impl Handlers {
    /// Since when a node has not had a handler that it had.
    pub(super) fn lost(
        &mut self,
        shim: &WasmShim,
        node: &Node,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let key = (shim.name_any(), node.name_any());
        let told = node.status.as_ref().and_then(|status| status.runtime_handlers.as_ref());
        // A kubelet that has just begun knows of none, and every runtime has one.
        let told = told.filter(|all| !all.is_empty());
        let has = |name: &str| {
            told.is_some_and(|all| all.iter().any(|it| it.name.as_deref() == Some(name)))
        };
        match shim.spec.handlers.iter().all(|handler| has(&handler.name)) {
            true => self.0.insert(key, None).and(None),
            false if told.is_none() => self.0.get(&key).copied().flatten(),
            false => self.0.get_mut(&key).map(|since| *since.get_or_insert(now)),
        }
    }

    /// Keeps those of nodes that there are.
    pub(super) fn retain(&mut self, shim: &str, there: impl Fn(&str) -> bool) {
        self.0.retain(|(of, node), _| of != shim || there(node));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeRuntimeHandler, NodeStatus};

    use super::*;

    fn node(handlers: &[&str]) -> Node {
        let told =
            |name: &&str| NodeRuntimeHandler { name: Some(name.to_string()), features: None };
        let mut node = Node::default();
        node.metadata.name = Some("n".into());
        node.status = Some(NodeStatus {
            runtime_handlers: Some(handlers.iter().map(told).collect()),
            ..NodeStatus::default()
        });
        node
    }

    #[test]
    fn only_what_was_told_is_missed_and_from_when_it_was() {
        let shim: WasmShim = serde_json::from_value(serde_json::json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": "wherry" },
            "spec": { "artifact": { "image": "a" }, "handlers": [{ "name": "wherry", "runtimeClassName": "w" }] },
        }))
        .unwrap();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut handlers = Handlers::default();
        let mut lost = |all: &[&str], now: i64| handlers.lost(&shim, &node(all), at(now));
        assert_eq!(lost(&["", "runc"], 1), None, "never told");
        assert_eq!(lost(&["", "wherry"], 2), None);
        assert_eq!(lost(&[], 3), None, "a kubelet that begins");
        assert_eq!(lost(&["", "runc"], 4), Some(at(4)));
        assert_eq!(lost(&["", "runc"], 5), Some(at(4)));
        assert_eq!(lost(&[], 6), Some(at(4)));
        assert_eq!(lost(&["wherry"], 7), None);
        assert_eq!(lost(&["runc"], 8), Some(at(8)));
        handlers.retain("wherry", |_| false);
        assert_eq!(handlers.lost(&shim, &node(&["runc"]), at(9)), None);
    }
}
