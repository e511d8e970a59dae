//! Signals that end a guest at once.
//!
//! The guest is often process 1 of its PID namespace, and the kernel drops signals to process 1
//! that it has no handler for (`pid_namespaces(7)`). So each signal whose default action is to end
//! a process gets a handler which does just that. It works in the middle of a guest's endless
//! loop, so commands need no interruption points in their code.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

/// Signals whose default action ends the process (`signal(7)`), except those which cannot be
/// caught, those the processor raises (Wasmtime's own handlers turn them into traps), and SIGPIPE.
const ENDING: [libc::c_int; 16] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];

/// Signals that ask a service to stop, and a command to end.
pub(crate) const STOPPING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// A service handles [`STOPPING`] itself. Its runtime calls the handlers that were there before.
static SERVES: AtomicBool = AtomicBool::new(false);

/// From here on these signals end the process with 128 + their number, without delay; also one
/// that is loaded and waits to be started.
pub(crate) fn end_at_signals() {
    for signal in ENDING {
        end_at(signal);
    }
    end_at_pipe();
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        end_at(signal);
    }
}

/// From here on the caller, who listens already, is the only one who hears of [`STOPPING`].
pub(crate) fn leave_stopping_to_service() {
    SERVES.store(true, Ordering::Relaxed);
}

/// A closed stream is an error that the guest sees, and no signal; one that somebody else sends is a signal.
fn end_at_pipe() {
    extern "C" fn end_if_sent(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a handler with SA_SIGINFO a valid one; for SIGPIPE it says who sent it, which is
        // this process itself when a stream is closed (kernel/signal.c, `send_sig`). Both calls are async-signal-safe.
        unsafe {
            if (*info).si_pid() != libc::getpid() {
                libc::_exit(128 + libc::SIGPIPE);
            }
        }
    }
    // SAFETY: as in `end_at`.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let handler: extern "C" fn(_, *mut libc::siginfo_t, *mut libc::c_void) = end_if_sent;
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGPIPE, &action, ptr::null_mut());
    }
}

fn end_at(signal: libc::c_int) {
    // SAFETY: `action` is fully set before use; `end` is async-signal-safe: it reads an atomic and
    // calls nothing but `_exit` (`signal-safety(7)`).
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // On the alternative stack if the thread has one: a guest may be at the end of its stack.
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

extern "C" fn end(signal: libc::c_int) {
    if SERVES.load(Ordering::Relaxed) && STOPPING.contains(&signal) {
        return;
    }
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(128 + signal) }
}
