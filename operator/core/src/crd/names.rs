//! Names: of labels, annotations, taints and conditions, and of objects that belong to others.

use sha2::{Digest as _, Sha256};

/// Who writes, for server-side apply. There is one.
pub const FIELD_MANAGER: &str = "wherry-operator";

/// Keeps a `WasmShim` until every node is clean.
pub const FINALIZER: &str = "wherry.dev/nodes";

/// On what the operator makes: the `WasmShim` that it is for.
pub const SHIM_LABEL: &str = "wherry.dev/shim";

/// On a `NodeShim` and a Job: the node's hash, as names of nodes are longer than labels may be.
pub const NODE_LABEL: &str = "wherry.dev/node";

/// On a `NodeShim`: `true` as long as no order of it was one that changes its node; `before-N` if that of number N is
/// the first, which counts for nothing as long as its agent never ran.
pub const ONLY_LOOKED_AT: &str = "wherry.dev/only-looked-at";

/// On a node: nothing is done to it, by its administrator's wish.
pub const HOLD: &str = "wherry.dev/hold";

/// On a `WasmShim`: the revision that may be rolled out where `approval` is `Manual`.
pub const APPROVED: &str = "wherry.dev/approved-revision";

/// On a `WasmShim`: a new value makes a revision that was rolled back be tried once more.
pub const RETRY: &str = "wherry.dev/retry";

/// On a `WasmShim`: a revision that its administrator gives up, as if it had spent its budget. The nodes that have it
/// go back to the last good one.
pub const GIVEN_UP: &str = "wherry.dev/given-up-revision";

/// The value of [`proof_label`].
pub const READY: &str = "ready";

/// The node's label that RuntimeClasses select: a container ran there. A kubelet cannot set it, as
/// the admission plugin NodeRestriction keeps this suffix from it.
pub fn proof_label(shim: &str) -> String {
    format!("{shim}.wherry.dev.node-restriction.kubernetes.io/shim")
}

/// What all of [`condition`] begin with.
pub const CONDITIONS: &str = "wherry.dev/";

/// The node's condition that says the same, with a reason.
pub fn condition(shim: &str) -> String {
    format!("wherry.dev/{shim}")
}

/// The taint of a node that must not get pods before it is proved; lifted by the operator, set by others.
pub fn startup_taint(shim: &str) -> String {
    format!("wherry.dev/{shim}")
}

/// The value of [`startup_taint`]. One with another value is somebody else's.
pub const PENDING: &str = "pending";

/// The name of a `NodeShim`.
pub fn node_shim(shim: &str, node: &str) -> String {
    format!("{shim}.{}", node_hash(node))
}

/// Stands for a node's name, which may have 253 characters.
pub fn node_hash(node: &str) -> String {
    short_hash(node.as_bytes())
}

/// The name of the Job that does an order: the same whoever makes it, so that there are never two.
pub fn job(shim: &str, node: &str, attempt: u32) -> String {
    format!("{shim}-{}-{attempt}", node_hash(node))
}

/// 12 hexadecimal digits: two of 5,000 nodes are alike once in 20 million fleets.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
