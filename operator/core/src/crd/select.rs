//! Which nodes a `WasmShim` is for.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt as _};

use super::shim::{ControlPlane, Nodes};

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

impl Nodes {
    /// Whether a node with these labels is selected. A selector that cannot be understood selects nothing; the
    /// schema lets none through.
    pub fn select(&self, labels: &BTreeMap<String, String>) -> bool {
        let allowed =
            self.control_plane == ControlPlane::Include || !labels.contains_key(CONTROL_PLANE);
        let selector = Selector::try_from(self.selector.clone());
        allowed && selector.is_ok_and(|selector| selector.matches(labels))
    }
}
