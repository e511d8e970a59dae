//! The programs under a real containerd: what a person, a client and the daemon itself see.

mod examples;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases: Vec<_> = [examples::CASES].concat();
    wherry_e2e::suite::main("containerd", &cases)
}
