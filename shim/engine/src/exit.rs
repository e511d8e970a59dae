//! How a guest ends, and where the reason is told.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::limits::Refused;

/// The status a guest's process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

/// As a native program ends that aborts: 128 + SIGABRT.
const ABORTED: Exit = Exit(134);

/// Where Kubernetes looks for the reason by default; in the container only if the pod wants it.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

impl Exit {
    pub(crate) const SUCCESS: Exit = Exit(0);
    pub(crate) const FAILURE: Exit = Exit(1);

    /// As a shell reports a program that a signal ended.
    pub(crate) fn signalled(signal: i32) -> Exit {
        Exit(((128 + signal) & 0xff) as u8)
    }

    /// For `std::process::exit`.
    pub fn code(self) -> i32 {
        self.0.into()
    }

    /// The status of a guest that returned, exited, or trapped. A trap is told on stderr, with the
    /// guest's backtrace, and in the termination log.
    pub(crate) fn of<T>(result: wasmtime::Result<T>, reasons: &Reasons) -> Exit {
        let Err(error) = result else { return Exit::SUCCESS };
        if let Some(I32Exit(status)) = error.downcast_ref() {
            // The operating system keeps the low eight bits, too.
            let exit = Exit((status & 0xff) as u8);
            // Some libraries end so where others trap: a program that could not go on.
            if let (ABORTED, Some(refused)) = (exit, error.downcast_ref::<Refused>()) {
                reasons.tell(&format!("the guest aborted\n{refused}"));
            }
            return exit;
        }
        reasons.tell(&trap_message(&error));
        ABORTED
    }
}

/// Wasmtime's errors carry the backtrace as context, outermost first, and ours a refused growth.
pub(crate) fn trap_message(error: &wasmtime::Error) -> String {
    let mut message = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("the guest trapped: {trap}"),
        None => format!("the guest failed: {}", error.root_cause()),
    };
    if let Some(refused) = error.downcast_ref::<Refused>() {
        message.push_str(&format!("\n{refused}"));
    }
    if let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        message.push('\n');
        message.push_str(backtrace.to_string().trim_end());
    }
    message
}

/// Where people look for the reason of an end: stderr, and the container's termination log if it is
/// the container that ends.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) log: Option<PathBuf>,
}

impl Reasons {
    /// Failure to tell cannot be told anywhere.
    pub(crate) fn tell(&self, message: &str) {
        let line = format!("wherry: {message}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        let log = self.log.as_ref().map(|log| OpenOptions::new().append(true).open(log));
        if let Some(Ok(mut log)) = log {
            let _ = log.write_all(line.as_bytes());
        }
    }
}
