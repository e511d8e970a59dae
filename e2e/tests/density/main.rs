//! Two hundred and fifty pods of an idle HTTP service on one node: what each holds of memory, and whether that stays;
//! how long pods take from `kubectl apply` to Ready, beside the same of runc with a native server, in one run.
//!
//! What is measured is printed as tables; what is promised is asserted.

mod memory;
mod ready;
mod service;

use std::process::ExitCode;

use anyhow::Result;
use wherry_e2e::cluster::Cluster;
use wherry_e2e::suite::Ground;

use service::Service;

fn main() -> ExitCode {
    // As libtest does, for whoever lists all tests of the workspace.
    if std::env::args().any(|word| word == "--list") {
        println!("density: bench");
        return ExitCode::SUCCESS;
    }
    match density() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("density: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn density() -> Result<()> {
    let cluster = Cluster::chosen()?;
    println!("density: {}", cluster.title());
    let measured = measure(&cluster);
    if measured.is_err() {
        eprintln!("{}", cluster.log());
    }
    cluster.finish()?;
    measured
}

fn measure(cluster: &Cluster) -> Result<()> {
    let services = [Service::wasm(cluster)?, Service::native(cluster)?];
    for service in &services {
        service.warm()?;
    }
    ready::measure(&services)?;
    memory::measure(&services)
}
