//! What a container is to be, and how it lives: decided here, carried out elsewhere.
//!
//! Every function takes values and returns a value. There is no clock, file, socket, environment
//! or process in this crate: its manifest and `clippy.toml` hold that line.
//!
//! - [`spec`] turns what containerd hands over (OCI spec, annotations, runtime options) into a [`plan::Plan`].
//! - [`image`] tells which bytes are the program, and of which kind they are.
//! - [`lifecycle`] is the state machine of the tasks of one shim.

pub mod image;
pub mod lifecycle;
pub mod plan;
pub mod spec;
