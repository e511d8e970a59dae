//! What the operator asks of one node, an [`Order`], and what the node answers, a [`Report`].
//!
//! ```text
//! operator ── Order: JSON in the environment of a Job's pod ──► wherry-node
//! operator ◄── Report: JSON of at most 4 KiB as its termination message ── wherry-node
//! ```
//!
//! The agent holds no token of the API: these two values are all that passes between the cluster and a node.
//! Both sides outlive each other's versions, so an order with a field that an agent does not know is refused by
//! that name (it cannot be honoured), and a report with one is read without it (it is only told).

mod order;
mod report;

pub use order::{Command, Handler, Invalid, Order, Restart, RestartPolicy, WhenInUse};
pub use report::{
    Container, Finding, Installed, LIMIT, Method, Node, Outcome, Proof, Report, Runtime, Severity,
    Transaction,
};

/// Where the agent finds its order.
pub const ORDER_VARIABLE: &str = "WHERRY_ORDER";

/// Where it finds the name of an image that its node has, and that has the module of the proof.
pub const SMOKE_VARIABLE: &str = "WHERRY_SMOKE_IMAGE";
