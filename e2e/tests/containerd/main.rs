//! The programs under a real containerd: what a person, a client and the daemon itself see.

mod crowd;
mod doctor;
mod examples;
mod execs;
mod images;
mod lifecycle;
mod native;
mod network;
mod pods;
mod ps;
mod refusals;
mod sandbox;
mod streams;
mod wasmbox;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        examples::CASES,
        streams::CASES,
        execs::CASES,
        lifecycle::CASES,
        sandbox::CASES,
        native::CASES,
        network::CASES,
        pods::CASES,
        images::CASES,
        refusals::CASES,
        crowd::CASES,
        doctor::CASES,
        ps::CASES,
        wasmbox::CASES,
    ];
    wherry_e2e::suite::main("containerd", &cases.concat())
}
