//! `wasmbox`: a shell and the small tools of a Wasm container, in one program.
//!
//! It is what `kubectl exec`, probes, health checks and `kubectl cp` run in a container whose image
//! has nothing but one `.wasm`, and it is itself a guest: it can touch what that guest can, and no
//! more. The name it is called by says what it is, as with busybox: `ls`, `/bin/ls`, `wasmbox ls`.
//!
//! A component of WASI 0.2 and not a preview 1 module, because preview 1 can neither connect (HTTP
//! and TCP probes) nor tell the initial directory.

mod applets;
mod call;
mod filter;
mod options;
mod shell;
mod streams;

use std::process::ExitCode;
use std::rc::Rc;

use call::Failure;
use streams::Streams;

fn main() -> ExitCode {
    enter_initial_directory();
    let args: Vec<String> = std::env::args().collect();
    let env = Rc::new(std::env::vars().collect());
    let streams = Streams::of_process();
    let called = args.first().map_or("wasmbox", String::as_str);
    let name = called.rsplit('/').next().unwrap_or(called);
    // A login shell's name begins with a dash.
    let name = name.strip_prefix('-').unwrap_or(name);
    let name = name.strip_suffix(".wasm").unwrap_or(name);
    let outcome = applets::run(name, args.get(1..).unwrap_or(&[]), env, streams.clone());
    let status = match outcome {
        Ok(status) | Err(Failure::Exit(status)) => status,
        Err(Failure::Closed) => call::CLOSED,
        Err(Failure::Said(sentence, status)) => {
            let _ = streams.stderr.borrow_mut().write_all(format!("{sentence}\n").as_bytes());
            status
        }
    };
    let flushed = streams.stdout.borrow_mut().flush();
    exit(if flushed.is_err() && status == 0 { call::CLOSED } else { status })
}

/// Nobody but the program itself can go there: libc begins at `/` on WASI.
#[cfg(target_env = "p2")]
fn enter_initial_directory() {
    if let Some(directory) = wasip2::cli::environment::initial_cwd() {
        // A container whose directory does not exist starts at `/`, and `pwd` says so.
        let _ = std::env::set_current_dir(directory);
    }
}

#[cfg(not(target_env = "p2"))]
fn enter_initial_directory() {}

/// std knows only success and failure on this target.
#[cfg(target_env = "p2")]
fn exit(status: i32) -> ExitCode {
    wasip2::cli::exit::exit_with_code(u8::try_from(status & 0xff).unwrap_or(255));
    ExitCode::FAILURE
}

#[cfg(not(target_env = "p2"))]
fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(255))
}
