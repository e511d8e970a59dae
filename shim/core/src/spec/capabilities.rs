//! Capabilities: those of the spec which the host of a WASI guest can use at all.
//!
//! A guest has no system calls. Its host opens files, listens and connects on its behalf; whatever
//! else a capability allows can't be asked for through WASI, and would only serve someone who has
//! broken out of the guest. So the spec's sets are cut down to [`USABLE`], silently by intent: the
//! default sets of containerd and Docker name fourteen, and a guest loses nothing.

use oci_spec::runtime::{Capabilities as Set, Capability, Process};

use crate::plan::Capabilities;

/// Capabilities that change what a guest can do, and how.
pub(super) const USABLE: [(Capability, &str); 5] = [
    (Capability::DacOverride, "open, create and rename in folders whose mode would not let it"),
    (Capability::DacReadSearch, "read files and list folders whose mode would not let it"),
    (Capability::Fowner, "set the times of others' files, and delete them from sticky folders"),
    (Capability::Fsetid, "keep the set-group-ID bit when it writes or truncates a file"),
    (Capability::NetBindService, "listen on ports below 1024"),
];

/// The process's sets without what its host has no use for.
pub(super) fn of(process: &Process) -> Capabilities {
    let Some(sets) = process.capabilities() else { return Capabilities::default() };
    Capabilities {
        bounding: usable(sets.bounding()),
        effective: usable(sets.effective()),
        permitted: usable(sets.permitted()),
        inheritable: usable(sets.inheritable()),
        ambient: usable(sets.ambient()),
    }
}

fn usable(set: &Option<Set>) -> Vec<String> {
    let Some(set) = set else { return Vec::new() };
    let kept = USABLE.iter().filter(|(capability, _)| set.contains(capability));
    kept.map(|(capability, _)| format!("CAP_{capability}")).collect()
}
