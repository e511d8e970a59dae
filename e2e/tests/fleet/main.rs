//! Wherry brought to every node of a real cluster by its operator, under load, and taken off again.
//!
//! The cases stand on one cluster, one after another, and each makes itself what it needs of those before it; with a
//! filter, one of them is a run of its own.

mod pods;
mod release;
mod rights;
mod rollout;
mod trouble;
mod world;

use std::process::ExitCode;

use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [rollout::CASES, trouble::CASES, rights::CASES, rollout::LAST];
    suite::main_of_waiters("fleet", 1, world::Fleet::new, &cases.concat())
}
