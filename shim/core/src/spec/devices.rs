//! Device nodes, and the rules of the device cgroup: runc's (`specconv/spec_linux.go`,
//! `AllowedDevices`, `createDevices`), since specs are written against them.

use std::path::Path;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder,
    LinuxDeviceType,
};

use super::{Refusal, invalid};

/// The devices of every container (runtime spec, config-linux.md, "Default Devices"). `/dev/ptmx`
/// and `/dev/console` are made by the sandbox: they are no nodes of their own.
const DEFAULT: [(&str, i64, i64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// Terminals: `/dev/pts/*` and `/dev/ptmx`.
const TERMINALS: [(i64, Option<i64>); 2] = [(136, None), (5, Some(2))];

/// The nodes to make: the default ones which the spec doesn't redefine, then the spec's.
pub(super) fn nodes(linux: &Linux) -> Result<Vec<LinuxDevice>, Refusal> {
    let mut nodes = Vec::new();
    for (path, major, minor) in undisturbed(linux) {
        nodes.push(node(path, major, minor).map_err(built)?);
    }
    for (n, device) in linux.devices().iter().flatten().enumerate() {
        let field = format!("linux.devices[{n}]");
        if !device.path().is_absolute() {
            let path = device.path().display();
            return Err(invalid(
                field + ".path",
                format!("is \"{path}\": it must be an absolute path"),
            ));
        }
        if device.typ() == LinuxDeviceType::A {
            return Err(invalid(field + ".type", "is \"a\": a node is one of c, b, u and p"));
        }
        nodes.push(device.clone());
    }
    Ok(nodes)
}

/// Nothing; then what the spec says; then what every container may use, which a spec can't forbid.
pub(super) fn rules(linux: &Linux) -> Result<Vec<LinuxDeviceCgroup>, Refusal> {
    // A spec may leave out its own "deny all" and mean it: runc starts from nothing, too
    // (`cgroups/devices`, `Emulator`).
    let mut rules = vec![
        LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().map_err(built)?,
    ];
    let resources = linux.resources().as_ref();
    for (n, rule) in resources.and_then(|r| r.devices().as_ref()).into_iter().flatten().enumerate()
    {
        let field = format!("linux.resources.devices[{n}]");
        let access = rule.access().as_deref().unwrap_or_default();
        if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
            return Err(invalid(
                field + ".access",
                format!("is {access:?}: it must be some of the letters r, w and m"),
            ));
        }
        if matches!(rule.typ(), Some(LinuxDeviceType::P | LinuxDeviceType::U)) {
            return Err(invalid(field + ".type", "is not one of a, b and c"));
        }
        rules.push(rule.clone());
    }
    for kind in [LinuxDeviceType::C, LinuxDeviceType::B] {
        rules.push(allow(kind, None, None, "m").map_err(built)?);
    }
    for (_, major, minor) in undisturbed(linux) {
        rules.push(allow(LinuxDeviceType::C, Some(major), Some(minor), "rwm").map_err(built)?);
    }
    for (major, minor) in TERMINALS {
        rules.push(allow(LinuxDeviceType::C, Some(major), minor, "rwm").map_err(built)?);
    }
    Ok(rules)
}

fn undisturbed(linux: &Linux) -> impl Iterator<Item = (&'static str, i64, i64)> {
    let redefined =
        |path: &str| linux.devices().iter().flatten().any(|d| d.path() == Path::new(path));
    DEFAULT.into_iter().filter(move |(path, ..)| !redefined(path))
}

fn node(path: &str, major: i64, minor: i64) -> Result<LinuxDevice, OciSpecError> {
    let device =
        LinuxDeviceBuilder::default().path(path).typ(LinuxDeviceType::C).major(major).minor(minor);
    device.file_mode(0o666_u32).uid(0_u32).gid(0_u32).build()
}

fn allow(
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access(access);
    if let Some(major) = major {
        rule = rule.major(major);
    }
    if let Some(minor) = minor {
        rule = rule.minor(minor);
    }
    rule.build()
}

/// The builders of `oci-spec` are fallible by type; with every field set or defaulted they don't fail.
fn built(error: OciSpecError) -> Refusal {
    invalid("linux.devices", format!("can't be described: {error}"))
}
