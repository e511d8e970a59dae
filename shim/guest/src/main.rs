//! wherry-guest: the one process of a Wasm container.
//!
//! A table of contents: what happens, in the order that makes it safe. The shim starts it and
//! speaks to it over the wire; nobody else has a use for it.

use std::fs::File;
use std::process::ExitCode;

use wherry_engine::{Exit, Loaded, TERMINATION_LOG};
use wherry_sandbox::hooks::Status;
use wherry_sandbox::wire::{Channel, Setup, SetupFds, ToGuest, ToShim};
use wherry_sandbox::{Entered, enter};

/// A guest makes and drops an instance per request, on several threads; musl's allocator has one
/// lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As a shell reports a program that was found and cannot be run.
const CANNOT_RUN: u8 = 126;

fn main() -> ExitCode {
    // Its arguments are the guest's, and kernels before 6.14 name it after a descriptor.
    let _ = rustix::thread::set_name(c"wherry-guest");
    let mut shim = match Channel::inherited() {
        Ok(shim) => shim,
        Err(error) => return fail(&error.to_string()),
    };
    let (entered, loaded) = match prepare(&mut shim) {
        Ok(ready) => ready,
        Err(message) => {
            // The shim tells the reason to containerd. If it is gone, stderr is all there is.
            let refused = ToShim::Refused { message: message.clone() };
            return match shim.send(&refused, &[]) {
                Ok(()) => ExitCode::from(CANNOT_RUN),
                Err(_) => fail(&message),
            };
        }
    };
    match start(entered, loaded, shim) {
        Ok(Some(exit)) => std::process::exit(exit.code()),
        // The shim is gone, and with it everyone who could want this container.
        Ok(None) => ExitCode::from(CANNOT_RUN),
        Err(message) => fail(&message),
    }
}

/// Confined before a byte of the program is looked at; sealed before it runs.
fn prepare(shim: &mut Channel) -> Result<(Entered, Loaded), String> {
    let (mut setup, descriptors) = shim.receive_setup().map_err(sentence)?;
    let SetupFds { code, stdin, stdout, stderr, memory, sources } = descriptors;
    take_streams(stdin, stdout, stderr).map_err(sentence)?;
    let mut entered = enter(&mut setup, sources, shim).map_err(sentence)?;
    let Setup { run, profile, state, .. } = setup;
    // An exec joins a container that runs, and its end is not the container's.
    let log = (state.status != Status::Running).then(|| TERMINATION_LOG.into());
    let memory = memory.map(File::from);
    let loaded =
        wherry_engine::load(profile, File::from(code), &run, memory, log).map_err(sentence)?;
    entered.seal().map_err(sentence)?;
    shim.send(&ToShim::Ready, &[]).map_err(sentence)?;
    Ok((entered, loaded))
}

fn start(entered: Entered, loaded: Loaded, mut shim: Channel) -> Result<Option<Exit>, String> {
    match shim.receive().map_err(sentence)? {
        Some(ToGuest::Start) => {}
        Some(other) => return Err(format!("the shim said {other:?} where only Start can follow")),
        None => return Ok(None),
    }
    entered.start().map_err(sentence)?;
    // The guest has no business with the wire.
    drop(shim);
    Ok(Some(loaded.run()))
}

/// The descriptors that the shim sent become this process's 0, 1 and 2.
fn take_streams(
    stdin: std::os::fd::OwnedFd,
    stdout: std::os::fd::OwnedFd,
    stderr: std::os::fd::OwnedFd,
) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// An error and its causes, told once.
fn sentence(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn fail(message: &str) -> ExitCode {
    eprintln!("wherry-guest: {message}");
    ExitCode::from(CANNOT_RUN)
}
