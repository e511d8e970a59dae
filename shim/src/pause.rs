//! The process of a pod's sandbox: holds the namespaces that the pod's containers join, and is their init where they
//! share a pid namespace.
//!
//! What the node's pause image would do, with its process left out: this program is in memory anyway, and at a fixed
//! address (see `e2e/rig/programs.sh`) it dirties next to nothing.

use std::ffi::CStr;
use std::process::ExitCode;

use wherry_sandbox::process::Pausing;
use wherry_sandbox::wire::{Channel, ToGuest, ToShim};
use wherry_sandbox::{Entered, Error, enter};

/// The first word of its command line, by which the program knows that it is this.
pub(crate) const NAME: &CStr = c"wherry-pause";

/// As a shell reports a program that was found and cannot be run.
const CANNOT_RUN: u8 = 126;

pub(crate) fn run() -> ExitCode {
    // For ps(1); the kernel has given it the name of the file.
    let _ = rustix::thread::set_name(NAME);
    let mut shim = match Channel::inherited() {
        Ok(shim) => shim,
        Err(error) => return fail(&error),
    };
    let (entered, pausing) = match prepare(&mut shim) {
        Ok(ready) => ready,
        Err(error) => {
            // The shim tells the reason to containerd. If it is gone, stderr is all there is.
            let refused = ToShim::Refused { message: error.sentence() };
            return match shim.send(&refused, &[]) {
                Ok(()) => ExitCode::from(CANNOT_RUN),
                Err(_) => fail(&error),
            };
        }
    };
    match shim.receive() {
        Ok(Some(ToGuest::Start)) => {}
        // The shim is gone, and with it everyone who could want this pod.
        Ok(_) => return ExitCode::from(CANNOT_RUN),
        Err(error) => return fail(&error),
    }
    if let Err(error) = entered.start() {
        return fail(&error);
    }
    drop(shim);
    pausing.wait();
    ExitCode::SUCCESS
}

fn prepare(shim: &mut Channel) -> Result<(Entered, Pausing), Error> {
    let (mut setup, descriptors) = shim.receive_setup()?;
    descriptors.install_streams()?;
    let mut entered = enter(&mut setup, descriptors.sources, shim)?;
    entered.seal()?;
    // Once others know of us a signal may come, and it waits until it is waited for.
    let pausing = Pausing::begin();
    shim.send(&ToShim::Ready, &[])?;
    Ok((entered, pausing))
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("wherry-pause: {}", error.sentence());
    ExitCode::from(CANNOT_RUN)
}
