//! Who plays the table.

use wherry_e2e::rig::Runtime;

/// A runtime and the form of its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// containerd's own shim, which is the reference.
    Runc,
    /// Ours, with guests of Wasm.
    Wasm,
    /// Ours, with the programs that runc gets: run by the node's runc.
    Native,
}

impl Column {
    pub(crate) const ALL: [Column; 3] = [Column::Runc, Column::Wasm, Column::Native];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Column::Runc => "runc",
            Column::Wasm => "wherry",
            Column::Native => "wherry, native",
        }
    }

    pub(crate) fn runtime(self) -> Runtime {
        match self {
            Column::Runc => Runtime::Runc,
            Column::Wasm | Column::Native => Runtime::Wherry,
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        self.runtime() == Runtime::Wherry
    }

    /// Whose form of the programs it is given.
    pub(crate) fn programs(self) -> Runtime {
        match self {
            Column::Wasm => Runtime::Wherry,
            Column::Runc | Column::Native => Runtime::Runc,
        }
    }
}
