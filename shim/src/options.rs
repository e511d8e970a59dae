//! The runtime's options, in any of the forms in which containerd passes them on.

use std::path::Path;

use containerd_shim::api::Options as RuncOptions;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, UnknownValueRef};
use wherry_core::lifecycle::Denied;
use wherry_core::spec::{self, CgroupDriver, Options};

use crate::create::{invalid, refused};

/// What the administrator wrote for this handler, in any of the forms that containerd passes on.
pub(crate) fn of(any: Option<&Any>) -> Result<Options, Denied> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
        return Ok(Options::default());
    };
    match any.type_url.rsplit('/').next().unwrap_or_default() {
        "runtimeoptions.v1.Options" => {
            Options::parse(&generic(&any.value)?).map_err(|refusal| refused(&refusal))
        }
        // containerd's Go client says some things like this, whatever the runtime.
        "containerd.runc.v1.Options" => of_runc(&any.value),
        other => {
            let sentence = format!(
                "the runtime's options are of the type {other}, which Wherry does not know"
            );
            Err(invalid(sentence))
        }
    }
}

/// The address of a task API in them is containerd's own affair, which it has seen to before.
fn of_runc(bytes: &[u8]) -> Result<Options, Denied> {
    let given = RuncOptions::parse_from_bytes(bytes)
        .map_err(|e| invalid(format!("the runtime's options are no message: {e}")))?;
    // Field 8 until containerd 2.0.
    let criu_path = match given.special_fields.unknown_fields().get(8) {
        Some(UnknownValueRef::LengthDelimited(path)) => String::from_utf8_lossy(path),
        _ => "".into(),
    };
    spec::no_criu(&[
        ("CriuPath", &criu_path),
        ("CriuImagePath", &given.criu_image_path),
        ("CriuWorkPath", &given.criu_work_path),
    ])
    .map_err(|refusal| refused(&refusal))?;
    let mut options = Options::default();
    if given.systemd_cgroup {
        options.cgroup_driver = CgroupDriver::Systemd;
    }
    options.runc = spec::RuncOptions {
        no_pivot_root: given.no_pivot_root,
        no_new_keyring: given.no_new_keyring,
        shim_cgroup: given.shim_cgroup,
        io_uid: given.io_uid,
        io_gid: given.io_gid,
        ..spec::RuncOptions::default()
    }
    .named(&given.binary_name, Path::new(&given.root));
    Ok(options)
}

/// `runtimeoptions.v1.Options`: type_url (1), config_path (2), config_body (3). No crate has it; an
/// `Any` has the same first two fields.
fn generic(bytes: &[u8]) -> Result<String, Denied> {
    let fields = Any::parse_from_bytes(bytes)
        .map_err(|e| invalid(format!("the runtime's options are no message: {e}")))?;
    let unknown = fields.special_fields.unknown_fields();
    let body = match unknown.get(3) {
        Some(UnknownValueRef::LengthDelimited(body)) => body,
        _ => &[],
    };
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| invalid("the runtime's options are no text".into()))
    };
    if !body.is_empty() {
        return text(body);
    }
    let path = text(&fields.value)?;
    match path.is_empty() {
        true => Ok(String::new()),
        false => std::fs::read_to_string(&path)
            .map_err(|e| invalid(format!("cannot read the runtime's options at {path}: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(given: RuncOptions, expected: Expect) {
        let value = given.write_to_bytes().unwrap();
        let any = Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() };
        expected.assert_eq(&match of(Some(&any)) {
            Ok(options) => format!("{:?} {:?}", options.cgroup_driver, options.runc),
            Err(denied) => format!("{:?}: {denied}", denied.code),
        });
    }

    #[test]
    fn runcs_own_options_are_honoured_or_refused_by_name() {
        let root = "/tmp/runc-test".to_owned();
        let binary_name = "runc-fp".to_owned();
        check(
            RuncOptions::default(),
            expect![[
                r#"Auto RuncOptions { binary_name: "runc", root: "/run/containerd/runc", no_pivot_root: false, no_new_keyring: false, shim_cgroup: "", io_uid: 0, io_gid: 0 }"#
            ]],
        );
        check(
            RuncOptions { root, binary_name, systemd_cgroup: true, ..RuncOptions::default() },
            expect![[
                r#"Systemd RuncOptions { binary_name: "runc-fp", root: "/tmp/runc-test", no_pivot_root: false, no_new_keyring: false, shim_cgroup: "", io_uid: 0, io_gid: 0 }"#
            ]],
        );
        let shim_cgroup = "/containerd/shim".to_owned();
        check(
            RuncOptions {
                no_pivot_root: true,
                no_new_keyring: true,
                io_uid: 1000,
                io_gid: 2000,
                shim_cgroup,
                task_api_address: "unix:///a".into(),
                ..RuncOptions::default()
            },
            expect![[
                r#"Auto RuncOptions { binary_name: "runc", root: "/run/containerd/runc", no_pivot_root: true, no_new_keyring: true, shim_cgroup: "/containerd/shim", io_uid: 1000, io_gid: 2000 }"#
            ]],
        );
        let criu_work_path = "/w".to_owned();
        check(
            RuncOptions { criu_work_path, ..RuncOptions::default() },
            expect![[
                r#"FailedPrecondition: CriuWorkPath is "/w" in the runtime's options: checkpoints are not supported, leave it out"#
            ]],
        );
    }
}
