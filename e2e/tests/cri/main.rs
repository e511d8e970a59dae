//! Pods through containerd's CRI plugin, as a kubelet asks for them: with a sandbox that is a container (`podsandbox`,
//! the default) and with one that the shim has by itself (`sandboxer = "shim"`, containerd 2.x); and crictl on it.
//!
//! Each case runs with both, one after another: some stop the daemon.

mod crictl;
mod daemon;
mod ends;
mod pods;
mod users;

use std::process::ExitCode;

use wherry_e2e::rig::Version;
use wherry_e2e::suite;

use daemon::Daemon;

fn main() -> ExitCode {
    let mut cases = [pods::CASES, users::CASES, ends::CASES, crictl::CASES].concat();
    // containerd 2.1 has no bundle for such a sandbox: it ends with a panic before it calls the shim (`NewBundle` in
    // `core/runtime/v2/bundle.go`, of a spec that is nil).
    if matches!(Version::chosen(), Ok(Version::V2_1)) {
        cases.retain(|(name, ..)| *name != "shim_a_pod_is_in_the_namespaces_of_the_node");
    }
    // containerd 1.7 has no such sandbox, and refuses mounts with users of their own itself.
    if matches!(Version::chosen(), Ok(Version::V1_7)) {
        cases.retain(|(name, ..)| {
            !name.starts_with("shim_") && *name != "a_pod_has_users_of_its_own"
        });
    }
    suite::main_of_waiters("cri", 1, Daemon::start, &cases)
}
