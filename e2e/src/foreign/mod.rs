//! Suites that others wrote, by which they judge shims: run on runc as the control, on our shim with the same
//! programs, and on our shim with Wasm. What does not pass has its reason in a table ([`expected`]), and a table
//! that explains one result too few or too many is an error. [`crate::client_suite`] is containerd's own suite,
//! [`crate::critest`] the one of Kubernetes' Container Runtime Interface.

pub mod expected;
pub(crate) mod layers;
pub mod report;

/// One run of a suite: a runtime and the programs in its images.
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

    /// As containerd names its runtime.
    pub fn runtime(self) -> &'static str {
        match self {
            Column::Runc => "io.containerd.runc.v2",
            Column::Native | Column::Wasmbox => "io.containerd.wherry.v1",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Pass,
    Fail,
    Skip,
    /// It was started, and the program ended before the test did.
    Unfinished,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
            Outcome::Unfinished => "unfinished",
        }
    }

    pub fn named(name: &str) -> Option<Outcome> {
        let all = [Outcome::Pass, Outcome::Fail, Outcome::Skip, Outcome::Unfinished];
        all.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One test, or one case of a test that has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub outcome: Outcome,
    /// What the test itself said where it did not pass.
    pub message: String,
}
