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
            "mountExtensions": { "idmap": { "enabled": true } },
        },
        "annotations": {
            "dev.wherry.version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// Ours and those of the runc that runs native containers: a handler has what either has, and who
/// asks a container for what its kind can't do is told by name.
#[must_use]
pub fn features_with(ours: Value, theirs: &Value) -> Value {
    match (ours, theirs) {
        (Value::Object(mut ours), Value::Object(theirs)) => {
            for (key, value) in theirs {
                let known = ours.remove(key);
                let both = known.map_or_else(|| value.clone(), |known| features_with(known, value));
                ours.insert(key.clone(), both);
            }
            Value::Object(ours)
        }
        (Value::Array(mut ours), Value::Array(theirs)) => {
            let new: Vec<_> = theirs.iter().filter(|one| !ours.contains(one)).cloned().collect();
            ours.extend(new);
            Value::Array(ours)
        }
        (Value::Bool(ours), Value::Bool(theirs)) => Value::Bool(ours || *theirs),
        (ours, _) => ours,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_handler_has_what_either_has() {
        let ours = json!({
            "ociVersionMax": "1.3.0", "mountOptions": ["ro", "rro"],
            "linux": { "idmap": { "enabled": false }, "cgroup": { "v1": true } },
        });
        let theirs = json!({
            "ociVersionMax": "1.2.0", "mountOptions": ["rro", "tmpcopyup"],
            "linux": { "idmap": { "enabled": true }, "cgroup": { "v1": false } },
            "annotations": { "org.opencontainers.runc.version": "1.5.2" },
        });
        expect![[r#"{"annotations":{"org.opencontainers.runc.version":"1.5.2"},"linux":{"cgroup":{"v1":true},"idmap":{"enabled":true}},"mountOptions":["ro","rro","tmpcopyup"],"ociVersionMax":"1.3.0"}"#]]
        .assert_eq(&features_with(ours, &theirs).to_string());
    }
}
