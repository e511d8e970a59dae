//! What an administrator wants of a fleet, and what is to be done next: decided here, carried out elsewhere.
//!
//! Every function takes values and returns a value. There is no clock, file, socket, environment or client in this
//! crate: its manifest and `clippy.toml` hold that line.

pub mod crd;
pub mod plan;
mod words;

pub use words::in_words;
