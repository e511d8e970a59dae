//! The operator on a large fleet: a real control plane, and as many nodes as WHERRY_NODES says (1,000), which kwok plays.
//!
//! Agents' pods end after a second or three with the report that an agent would write; what they answer is decided by
//! their order (`nodes.rs`). Everything that the operator asks of the API server is in its audit log, and every state
//! of every `NodeShim` is seen by a watch (`witness.rs`): what is asserted holds at each moment, and not at the end.

mod audit;
mod nodes;
mod rollout;
mod witness;
mod world;

use std::process::ExitCode;

use wherry_e2e::suite;

fn main() -> ExitCode {
    // One after another: each begins with what the one before it left.
    suite::main_of_waiters("scale", 1, world::Fleet::new, rollout::CASES)
}
