//! The programs under a real Kubernetes, as people run pods.

mod containers;
mod life;
mod people;
mod pod;
mod process;
mod running;
mod volumes;

use std::process::ExitCode;

use wherry_e2e::cluster::Cluster;
use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [running::CASES, life::CASES, people::CASES, containers::CASES, volumes::CASES];
    suite::main_of_waiters("cluster", 8, Cluster::chosen, &cases.concat())
}
