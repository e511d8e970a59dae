//! What the runtime can do, as `-info` tells it (runtime spec, features.md).
//!
//! The kubelet decides by it: recursive read-only mounts need `rro` in the mount options, and
//! `hostUsers: false` needs id-mapped mounts besides user namespaces (containerd, `internal/cri`,
//! `introspectRuntimeHandler`).

use serde_json::{Value, json};

use super::{capabilities, mounts, namespaces};

/// The `Features` object.
#[must_use]
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mounts::known_options(),
        "linux": {
            "namespaces": namespaces::KNOWN,
            "capabilities": capabilities::USABLE.map(|(capability, _)| format!("CAP_{capability}")),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"
                ],
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "netDevices": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
        },
        "annotations": {
            "dev.wherry.version": env!("CARGO_PKG_VERSION"),
        },
    })
}
