//! The programs under Docker Engine, through Docker's own client, as people run containers.

mod attach;
mod examples;
mod execs;
mod health;
mod images;
mod kept;
mod life;
mod limits;
mod namespaces;
mod network;
mod restarts;
mod run;
mod volumes;

use std::process::ExitCode;

use wherry_e2e::docker::Docker;
use wherry_e2e::suite;

fn main() -> ExitCode {
    let cases = [
        // The longest first, so that the others run beside them.
        restarts::CASES,
        examples::CASES,
        run::CASES,
        images::CASES,
        life::CASES,
        attach::CASES,
        execs::CASES,
        health::CASES,
        limits::CASES,
        namespaces::CASES,
        network::CASES,
        volumes::CASES,
    ];
    suite::main_on("docker", Docker::chosen, &cases.concat())
}
