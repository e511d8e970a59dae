//! The programs under a real Kubernetes, as people run pods.

mod containers;
mod controllers;
mod life;
mod nodes;
mod people;
mod pod;
mod probes;
mod process;
mod running;
mod sandbox;
mod volumes;

use std::process::ExitCode;

use wherry_e2e::cluster::Cluster;
use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [
        // The longest first, so that the others run beside them.
        controllers::CASES,
        running::CASES,
        life::CASES,
        probes::CASES,
        people::CASES,
        sandbox::CASES,
        containers::CASES,
        volumes::CASES,
    ];
    suite::main_with_alone("cluster", 8, Cluster::chosen, &cases.concat(), nodes::CASES)
}
