//! The chart on a cluster of two nodes, by Helm 3 and Helm 4, from the install to the uninstall.
//!
//! What an agent does on a node, and what becomes of it in trouble, is the suite fleet's.

mod admission;
#[path = "../walk/document.rs"]
#[allow(dead_code, reason = "nothing is run on nodes here")]
mod document;
mod life;
mod people;
mod world;

use std::process::ExitCode;

use wherry_e2e::suite;

fn main() -> ExitCode {
    // One after the other: there is one release, and one operator, in a cluster.
    let cases = [life::CASES, people::CASES, admission::CASES].concat();
    suite::main_of_waiters("release", 1, world::Release::new, &cases)
}
