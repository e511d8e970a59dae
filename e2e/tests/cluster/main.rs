//! The programs under a real Kubernetes, as people run pods.

mod pod;
mod running;

use std::process::ExitCode;

use wherry_e2e::cluster::Cluster;
use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [running::CASES];
    suite::main_of_waiters("cluster", 8, Cluster::chosen, &cases.concat())
}
