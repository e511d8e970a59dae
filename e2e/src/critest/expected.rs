//! Why a case does not pass, where one does not. A case that is not here passes in all columns.

use crate::foreign::Outcome;
use crate::foreign::expected::{Allowed, Row};
use crate::rig::Version;

const PASS: Allowed = Allowed::Only(Outcome::Pass);
const FAIL: Allowed = Allowed::Only(Outcome::Fail);
const SKIP: Allowed = Allowed::Only(Outcome::Skip);

struct Reason {
    on: &'static [Version],
    case: &'static str,
    /// In the order of [`Column::ALL`].
    allowed: [Allowed; 3],
    says: &'static str,
    why: &'static str,
}

const BOTH: &[Version] = &super::VERSIONS;
const OLD: &[Version] = &[Version::V1_7];
const NEW: &[Version] = &[Version::V2_4];

const REASONS: &[Reason] = &[
    Reason {
        on: BOTH,
        case: "AppArmor: *",
        allowed: [SKIP, SKIP, SKIP],
        says: "AppArmor is disabled on this host",
        why: "AppArmor is not in this kernel.",
    },
    Reason {
        on: BOTH,
        case: "Image Manager: public image with digest should be pulled and removed",
        allowed: [FAIL, FAIL, FAIL],
        says: "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf",
        why: "Pulls an image of the authors by its digest; one made here cannot have it. No shim takes part.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support MaskedPaths",
        allowed: [FAIL, FAIL, FAIL],
        says: "Expected an error to have occurred",
        why: "Masks `/bin/ls` and calls `sh -c ls`: the shells of Debian's busybox and of wasmbox have `ls` built in and look for no file.",
    },
    Reason {
        on: OLD,
        case: "Container Mount Readonly: runtime should support readonly mounts: should reject*",
        allowed: [SKIP, SKIP, SKIP],
        says: "runtime does not implement recursive readonly mounts",
        why: "containerd 1.7 does not have it.",
    },
    Reason {
        on: OLD,
        case: "Container Mount Readonly: runtime should support readonly mounts: should support recursive readonly mounts",
        allowed: [SKIP, SKIP, SKIP],
        says: "runtime does not implement recursive readonly mounts",
        why: "containerd 1.7 does not have it.",
    },
    Reason {
        on: OLD,
        case: "Image Identifier Consistency: *",
        allowed: [SKIP, SKIP, SKIP],
        says: "image_id is empty",
        why: "containerd 1.7 does not have it.",
    },
    Reason {
        on: OLD,
        case: "Security Context: SupplementalGroupsPolicy: *",
        allowed: [SKIP, SKIP, SKIP],
        says: "The runtime does not support SupplementalGroupsPolicy feature",
        why: "containerd 1.7 does not have it.",
    },
    Reason {
        on: OLD,
        case: "Security Context: UserNamespaces: *",
        allowed: [SKIP, SKIP, SKIP],
        says: "no runtime handler found which supports user namespaces",
        why: "containerd 1.7 does not have it. A handler tells its features from 2.0 on.",
    },
    Reason {
        on: BOTH,
        case: "Container Mount Propagation: *",
        allowed: [PASS, PASS, FAIL],
        says: "a WebAssembly guest cannot mount",
        why: "Runs `mount` in the container: WASI has no call for it.",
    },
    Reason {
        on: NEW,
        case: "Container Mount Readonly: runtime should support readonly mounts: should support recursive readonly mounts",
        allowed: [PASS, PASS, FAIL],
        says: "exited with 1",
        why: "It is refused, as it should be, by WASI, whose words are `Operation not permitted`; the case wants the kernel's.",
    },
    Reason {
        on: BOTH,
        case: "Container OOM: runtime should output OOMKilled reason: should terminate with exitCode 137 and reason OOMKilled",
        allowed: [PASS, PASS, FAIL],
        says: "<string>: Error",
        why: "`dd` asks for more memory than the container may have, and a guest is told so before the kernel must kill: it ends with an error of its own (`make test-containerd` has the guest that is killed).",
    },
    Reason {
        on: BOTH,
        case: "Security Context: NamespaceOption: runtime should support HostIpc is false",
        allowed: [PASS, PASS, FAIL],
        says: "\"ipcs\"",
        why: "Runs a program that WASI cannot have: `ipcs`, the shared memory of System V.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: NamespaceOption: runtime should support HostIpc is true",
        allowed: [PASS, PASS, FAIL],
        says: "\"ipcs\"",
        why: "Runs a program that WASI cannot have: `ipcs`, the shared memory of System V.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: NamespaceOption: runtime should support HostNetwork is true",
        allowed: [PASS, PASS, FAIL],
        says: "should be in container's port list",
        why: "Runs a program that WASI cannot have: `netstat`, the sockets of others.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: NamespaceOption: runtime should support HostPID",
        allowed: [PASS, PASS, FAIL],
        says: "nginx.pid",
        why: "Waits for `/var/run/nginx.pid`, which a `wasi:http` component in the place of nginx does not write.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: SeccompProfilePath: runtime should ignore a seccomp profile that blocks setting hostname when privileged",
        allowed: [PASS, PASS, FAIL],
        says: "WASI lets no guest do that",
        why: "Sets the hostname: WASI has no call for it.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: SeccompProfilePath: runtime should not block setting host name with unconfined seccomp and SYS_ADMIN",
        allowed: [PASS, PASS, FAIL],
        says: "WASI lets no guest do that",
        why: "Sets the hostname: WASI has no call for it.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: SeccompProfilePath: should support nil profile, which is unconfined",
        allowed: [PASS, PASS, FAIL],
        says: "Seccomp:\t2",
        why: "A guest always has our filter, whatever the pod's profile: no pod can take it off.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: SeccompProfilePath: should support seccomp unconfined on the container",
        allowed: [PASS, PASS, FAIL],
        says: "Seccomp:\t2",
        why: "A guest always has our filter, whatever the pod's profile: no pod can take it off.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: SeccompProfilePath: should support seccomp localhost profile on the container",
        allowed: [PASS, PASS, FAIL],
        says: "WASI knows neither modes nor owners",
        why: "Calls `chmod`, for which WASI has no call: it is refused, with and without the profile.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support Privileged is true",
        allowed: [PASS, PASS, FAIL],
        says: "\"brctl\"",
        why: "Runs a program that WASI cannot have: `brctl`, the links of the network.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support adding capability",
        allowed: [PASS, PASS, FAIL],
        says: "\"brctl\"",
        why: "Runs a program that WASI cannot have: `brctl`, the links of the network.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support dropping capability",
        allowed: [PASS, PASS, FAIL],
        says: "not to be empty",
        why: "Runs `ping`: WASI has no raw sockets, with and without the capability.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support ReadonlyPaths",
        allowed: [PASS, PASS, FAIL],
        says: "touch: /tmp/test: I/O error",
        why: "It is refused, as it should be; wasmtime-wasi 48 has no word for EROFS and says `I/O error`, and the case wants `Read-only file system`.",
    },
    Reason {
        on: BOTH,
        case: "Security Context: bucket: runtime should support that ReadOnlyRootfs is true",
        allowed: [PASS, PASS, FAIL],
        says: "touch: test.go: I/O error",
        why: "It is refused, as it should be; wasmtime-wasi 48 has no word for EROFS and says `I/O error`, and the case wants `Read-only file system`.",
    },
];

/// The rows for one containerd.
pub fn rows(version: Version) -> Vec<Row> {
    let row = |reason: &Reason| Row {
        test: reason.case.to_string(),
        allowed: reason.allowed,
        says: reason.says.to_string(),
        why: reason.why.to_string(),
    };
    REASONS.iter().filter(|reason| reason.on.contains(&version)).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::Column;

    #[test]
    fn a_case_has_one_reason_on_each_containerd() {
        for version in super::super::VERSIONS {
            let rows = rows(version);
            for (at, row) in rows.iter().enumerate() {
                assert!(rows[..at].iter().all(|other| other.test != row.test), "{}", row.test);
                assert!(row.allowed != [PASS; 3], "{} passes everywhere", row.test);
            }
        }
    }

    #[test]
    fn what_passes_with_runc_and_not_with_us_says_what_it_says() {
        for row in super::super::VERSIONS.into_iter().flat_map(rows) {
            let worse = row.allowed(Column::Runc) == PASS;
            assert!(!worse || !row.says.is_empty(), "{}", row.test);
        }
    }
}
