//! Which bytes are the program, and of which kind they are.
//!
//! - [`Kind`] tells from the first bytes of a file whether it is Wasm, and has a sentence for
//!   whatever is not.
//! - [`Document`] reads the JSON of an image and finds the layer that is the program itself, for
//!   images that carry Wasm as a layer rather than as a file in their root file system.
//!
//! Nothing here opens a file or asks containerd: bytes in, a decision out.

mod kind;
mod layers;

pub use kind::{Kind, MAX_PROGRAM_BYTES, PREFIX};
pub use layers::{Descriptor, Document, Manifest, Platform, Refusal, WASM_CONFIG, WASM_LAYERS};
