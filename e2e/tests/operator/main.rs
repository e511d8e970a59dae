//! The operator on a real API server, with nodes that are not there: `kubelet.rs` answers for their agents.

mod agents;
mod kubelet;
mod people;
mod refusals;
mod rollout;
mod schema;
mod world;

use std::process::ExitCode;

use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [rollout::CASES, schema::CASES, people::CASES, refusals::CASES, agents::CASES];
    suite::main_of_waiters("operator", 4, world::Fleet::new, &cases.concat())
}
