//! containerd's own suite, `integration/client` of the Go module `github.com/containerd/containerd/v2`, run
//! against other images and another shim than its authors had.
//!
//! The suite pulls its images from the network under fixed names and knows busybox's programs. [`images`] makes
//! an OCI layout with those names: busybox and its links, or in the Wasm column one multi-call Wasm program in
//! the place of every program. `rig/client-suite.sh` serves the layout and runs the suite; [`results`] reads
//! what it prints; [`expected`] compares that with the table in `CLIENT-SUITE.md`, which gives the reason of
//! every test that does not pass, and is wrong when it gives one too many.

pub mod expected;
pub mod images;
pub mod results;

/// One run of the suite: a runtime and the programs in its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The control: containerd's own shim with busybox.
    Runc,
    /// Our shim with busybox.
    Native,
    /// Our shim with Wasm.
    Wasmbox,
}

impl Column {
    pub const ALL: [Column; 3] = [Column::Runc, Column::Native, Column::Wasmbox];

    /// As the table and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Column::Runc => "runc",
            Column::Native => "native",
            Column::Wasmbox => "wasmbox",
        }
    }

    pub fn named(name: &str) -> Option<Column> {
        Column::ALL.into_iter().find(|column| column.name() == name)
    }

    /// The value of `RUNC_FLAVOR`. Three tests put a wrapper in the place of runc, and one of them waits for ever
    /// for it: they ask for this themselves.
    pub fn runc_flavor(self) -> &'static str {
        match self {
            Column::Runc | Column::Native => "runc",
            Column::Wasmbox => "none",
        }
    }

    /// The value of `TEST_RUNTIME`.
    pub fn runtime(self) -> &'static str {
        match self {
            Column::Runc => "io.containerd.runc.v2",
            Column::Native | Column::Wasmbox => "io.containerd.wherry.v1",
        }
    }
}
