//! Why a container can't be planned.

use thiserror::Error;

/// A field that can't be honoured, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {why}")]
pub struct Refusal {
    /// The path of the field in `config.json`, the annotation's key, or the name of the option.
    pub field: String,
    /// What is wrong with it and what to do, as the rest of a sentence that starts with the field.
    pub why: String,
    pub kind: Refused,
}

/// Whose fault it is, for the error code of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No runtime could run this.
    Invalid,
    /// Another runtime could; this one, or this node, can't.
    Unsupported,
}

pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal { field: field.into(), why: why.into(), kind: Refused::Invalid }
}

pub(super) fn unsupported(field: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal { field: field.into(), why: why.into(), kind: Refused::Unsupported }
}
