//! What is to be done next for one `WasmShim`, given all that is known of it and of its nodes.
//!
//! ```text
//!             order           the Job ends: an observation        boot, runtime, time, drift
//!  (none) ───────────► under way ───────────► settled ───────────────────────────┐
//!                          ▲                                                     │
//!                          └─────────────────────────────────────────────────────┘
//! ```
//!
//! Nothing is remembered between two calls but what the objects of the API hold: who decides may die at any moment,
//! and another one goes on. An order is carried out if its number is the next one of its node, else not at all; so
//! two who decide at once do not add up.

mod fleet;
mod node;
mod refusal;
mod room;
mod status;
mod waves;
mod window;

use std::fmt;

use jiff::Timestamp;

use crate::crd::{self, Mode, OnFailure, RolloutPhase, WasmShim, WasmShimStatus};

pub use node::{Decided, Node};
pub use refusal::Refusal;
pub use status::conditions;

/// All that a decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    pub shim: &'a WasmShim,
    /// Every node that is selected or has a `NodeShim`, in the order in which they are to be taken.
    pub nodes: &'a [Node],
    pub now: Timestamp,
    /// Why the API server does not take a RuntimeClass of the spec, if so.
    pub class: Option<&'a str>,
}

/// What to do, in this order, and what to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Without `conditions`, whose times depend on what they were.
    pub status: WasmShimStatus,
    /// Why no order is given, whatever else is done.
    pub refused: Option<Refusal>,
}

/// One thing to do. Each may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes an order into the node's `NodeShim`, if its last one has the number before this.
    Order { node: String, order: Order },
    /// Takes care that there is the Job of the node's order.
    Job { node: String },
    /// Makes the node one for pods: its label, its condition, and its startup taint lifted.
    Prove { node: String },
    /// The opposite, but for the taint.
    Disprove { node: String },
    /// Asks the pods that the node's last report names to leave.
    Evict { node: String },
    /// Deletes the `NodeShim` of a clean node.
    Forget { node: String },
    /// Lets go of the `WasmShim`: every node is clean.
    Release,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Order { node, order } => {
                write!(f, "the order {:?} {} of node {node}", order.action, order.attempt)
            }
            Action::Job { node } => write!(f, "the Job of node {node}"),
            Action::Prove { node } => write!(f, "the label and condition of node {node}"),
            Action::Disprove { node } => write!(f, "the lost label of node {node}"),
            Action::Evict { node } => write!(f, "the eviction of pods from node {node}"),
            Action::Forget { node } => write!(f, "the end of node {node}'s NodeShim"),
            Action::Release => f.write_str("the end of the finalizer"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub attempt: u32,
    pub action: crd::Action,
    pub revision: String,
    pub wave: String,
}

/// Decides.
pub fn plan(fleet: &Fleet<'_>) -> Plan {
    let refused = refusal::refusal(fleet);
    if matches!(refused, Some(Refusal::Selector(_))) {
        return refusal::unread(fleet, refused);
    }
    // Who is deleted goes, whatever cannot be read of its windows.
    let open = window::open(&fleet.shim.spec.rollout.windows, fleet.now).unwrap_or(true);
    let view = fleet::View::new(fleet);
    let rejected = view.rejected();
    let mut actions = Vec::new();
    for node in fleet.nodes {
        view.follow_up(node, &mut actions);
    }
    let mut room = room::Room::new(&view, open);
    if !view.paused() && refused.is_none() {
        // What is first has the first of the room.
        view.removals(&mut room, &mut actions);
        match (view.mode(), &rejected) {
            (Mode::Plan, _) => view.looks(crd::Action::Plan, &mut room, &mut actions),
            (Mode::VerifyOnly, _) => view.looks(crd::Action::Verify, &mut room, &mut actions),
            (Mode::Managed, None) => {
                view.upkeep(crd::Action::Install, &mut room, &mut actions);
                view.rollout(&mut room, &mut actions);
                // Last: in a large fleet there is always somebody to be looked at.
                view.upkeep(crd::Action::Verify, &mut room, &mut actions);
            }
            // That it is rejected is to be written down before anything is done about it: else it would be
            // forgotten with the first node that is rolled back.
            (Mode::Managed, Some(rejected)) if view.knows(rejected) => {
                view.rollback(&mut room, &mut actions);
                view.upkeep(crd::Action::Install, &mut room, &mut actions);
                view.upkeep(crd::Action::Verify, &mut room, &mut actions);
            }
            (Mode::Managed, Some(_)) => {}
        }
    }
    if view.deleting() && fleet.nodes.iter().all(|node| view.clean(node)) {
        actions.push(Action::Release);
    }
    let mut status = view.status(rejected, open);
    if refused.is_some() {
        status.phase = RolloutPhase::Refused;
    }
    Plan { actions, status, refused }
}

fn rolls_all_back(on_failure: OnFailure) -> bool {
    match on_failure {
        OnFailure::RollbackAll => true,
        OnFailure::Pause | OnFailure::RollbackFailed => false,
    }
}
