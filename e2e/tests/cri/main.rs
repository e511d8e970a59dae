//! Pods through containerd's CRI plugin, as a kubelet asks for them: with a sandbox that is a container (`podsandbox`,
//! the default) and with one that the shim has by itself (`sandboxer = "shim"`, containerd 2.x).
//!
//! Each case runs with both, one after another: some stop the daemon.

mod daemon;
mod ends;
mod pods;
mod users;

use std::process::ExitCode;

use wherry_e2e::rig::Version;
use wherry_e2e::suite;

use daemon::Daemon;

fn main() -> ExitCode {
    let mut cases = [pods::CASES, users::CASES, ends::CASES].concat();
    // containerd 2.1 has no bundle for such a sandbox: it ends with a panic before it calls the shim (`NewBundle` in
    // `core/runtime/v2/bundle.go`, of a spec that is nil).
    if matches!(Version::chosen(), Ok(Version::V2_1)) {
        cases.retain(|(name, ..)| *name != "shim_a_pod_is_in_the_namespaces_of_the_node");
    }
    suite::main_of_waiters("cri", 1, Daemon::start, &cases)
}
