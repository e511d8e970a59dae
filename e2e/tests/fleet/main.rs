//! Wherry brought to every node of a real cluster, under load, and taken off again, as an administrator does it: the
//! chart is packed and pushed to a registry, and from there `helm install`, `helm upgrade` and `helm rollback` bring
//! releases, each with its own images and values, until `helm uninstall`, which is refused while a pod runs. All of it
//! runs with the chart's rights and under its admission policies; no network plugin here keeps its NetworkPolicies.
//!
//! What people do by hand in trouble is done by hand here, too: the operator is scaled, an orphaned Job is deleted, an
//! agent is stopped on its node.
//!
//! The cases stand on one cluster, one after another, and each makes itself what it needs of those before it; with a
//! filter, one of them is a run of its own.

mod limits;
mod pods;
mod release;
mod rights;
mod rollout;
mod trouble;
mod world;

use std::process::ExitCode;

use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [rollout::CASES, trouble::CASES, rights::CASES, limits::CASES, rollout::LAST];
    suite::main_of_waiters("fleet", 1, world::Fleet::new, &cases.concat())
}
