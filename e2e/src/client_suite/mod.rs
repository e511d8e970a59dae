//! containerd's own suite, `integration/client` of the Go module `github.com/containerd/containerd/v2`, run
//! against other images and another shim than its authors had.
//!
//! The suite pulls its images from the network under fixed names and knows busybox's programs. [`images`] makes
//! an OCI layout with those names: busybox and its links, or in the Wasm column one multi-call Wasm program in
//! the place of every program. `rig/client-suite.sh` serves the layout and runs the suite; [`results`] reads
//! what it prints; [`crate::foreign::expected`] compares that with the table in `CLIENT-SUITE.md`.

pub mod images;
pub mod results;

use crate::foreign::Column;

/// The value of `RUNC_FLAVOR`. Three tests put a wrapper in the place of runc, and one of them waits for ever
/// for it: they ask for this themselves.
pub fn runc_flavor(column: Column) -> &'static str {
    match column {
        Column::Runc | Column::Native => "runc",
        Column::Wasmbox => "none",
    }
}
