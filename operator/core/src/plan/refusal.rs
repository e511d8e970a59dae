//! Specs that cannot be done as they are, and what goes on nevertheless.

use crate::crd::{RolloutPhase, WasmShimStatus};

use super::{Action, Fleet, Plan, window};

/// Why no node gets an order. What was ordered before comes to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows which nodes are meant, and so neither which are not.
    Selector(String),
    /// Nobody knows when.
    Window(String),
    /// Pods could not ask for it.
    RuntimeClass(String),
}

impl Refusal {
    /// For a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Selector(_) => "BadSelector",
            Refusal::Window(_) => "BadWindow",
            Refusal::RuntimeClass(_) => "RuntimeClassRefused",
        }
    }

    pub fn message(&self) -> &str {
        match self {
            Refusal::Selector(text) | Refusal::Window(text) | Refusal::RuntimeClass(text) => text,
        }
    }
}

/// What is deleted asks for nothing that could be refused.
pub(super) fn refusal(fleet: &Fleet<'_>) -> Option<Refusal> {
    let spec = &fleet.shim.spec;
    if fleet.shim.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Err(error) = spec.nodes.check() {
        return Some(Refusal::Selector(error.to_string()));
    }
    if let Err(error) = window::check(&spec.rollout.windows) {
        return Some(Refusal::Window(error.to_string()));
    }
    fleet.class.map(|text| Refusal::RuntimeClass(text.to_string()))
}

/// Which nodes are selected is not known: their labels and orders stay as they are, and so does what was told of them.
pub(super) fn unread(fleet: &Fleet<'_>, refused: Option<Refusal>) -> Plan {
    let under_way = fleet.nodes.iter().filter(|node| node.under_way().is_some());
    Plan {
        actions: under_way.map(|node| Action::Job { node: node.name.clone() }).collect(),
        status: WasmShimStatus {
            observed_generation: fleet.shim.metadata.generation.unwrap_or_default(),
            phase: RolloutPhase::Refused,
            ..fleet.shim.status.clone().unwrap_or_default()
        },
        refused,
    }
}
