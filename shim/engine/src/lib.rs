//! The only user of Wasmtime: compiles, loads and runs guests.
//!
//! Compiling ([`compile`], with the feature of that name) and running never happen in one
//! process. What they share is [`config`]: code is only accepted by an engine that was set up as
//! the one which compiled it.
//!
//! ```text
//! wasm, wat ──compile──► .cwasm ──load──► Loaded ──run──► Exit
//!                                  └────► Refusal: a sentence for the person who wrote the pod
//! ```
//!
//! This crate knows nothing of namespaces, cgroups or containerd. It takes the process as it
//! finds it: descriptors 0, 1 and 2 are the guest's streams, and paths are the container's.

#[cfg(feature = "compiler")]
pub mod compile;

mod call;
mod code;
mod command;
mod config;
mod exit;
mod host;
mod http;
mod imports;
mod limits;
mod load;
mod signals;
mod stdio;
mod world;

pub use exit::{Exit, TERMINATION_LOG};
pub use load::{Loaded, Refusal, load};
pub use world::World;
