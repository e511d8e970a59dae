//! A call that is not carried out, and why.

use std::fmt;

/// The ttrpc status that containerd branches on (`pkg/errdefs`, `errgrpc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
}

/// A code for the machine and a sentence for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub code: Code,
    pub sentence: String,
}

impl Denied {
    pub fn new(code: Code, sentence: impl Into<String>) -> Denied {
        Denied { code, sentence: sentence.into() }
    }

    pub(super) fn no_task(id: &str) -> Denied {
        Denied::new(Code::NotFound, format!("task {id} not found"))
    }

    pub(super) fn no_pod(id: &str) -> Denied {
        Denied::new(Code::NotFound, format!("sandbox {id} not found"))
    }

    pub(super) fn no_exec(id: &str, exec: &str) -> Denied {
        Denied::new(Code::NotFound, format!("exec {exec} of task {id} not found"))
    }

    /// The words that containerd's clients and Docker look for.
    pub(super) fn finished() -> Denied {
        Denied::new(Code::NotFound, "process already finished")
    }

    pub(super) fn state(doing: &str, state: &str) -> Denied {
        Denied::new(Code::FailedPrecondition, format!("cannot {doing} a {state} process"))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Denied {}
