//! Namespaces, and what only makes sense in one of the container's own: id mappings, host names,
//! sysctls.

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as Kind};

use super::{Refusal, invalid, no_nul, unsupported};
use crate::plan::{IdMapping, Ids, Namespace};

/// What may be asked for, sorted, for the features that `-info` tells.
pub(super) const KNOWN: [&str; 8] =
    ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

pub(super) fn of(linux: &Linux) -> Result<Vec<Namespace>, Refusal> {
    let mut namespaces: Vec<Namespace> = Vec::new();
    for (n, given) in linux.namespaces().iter().flatten().enumerate() {
        let field = format!("linux.namespaces[{n}]");
        let kind = given.typ();
        let path = given.path().clone().filter(|path| !path.as_os_str().is_empty());
        if namespaces.iter().any(|earlier| earlier.kind == kind) {
            return Err(invalid(
                field,
                format!("is a second {kind} namespace: give each kind once"),
            ));
        }
        if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
            let path = path.display();
            return Err(invalid(
                field + ".path",
                format!("is \"{path}\": it must be an absolute path"),
            ));
        }
        match kind {
            Kind::Mount if path.is_some() => {
                let why = "joins another mount namespace, whose mounts a container would change: leave its path out";
                return Err(unsupported(field, why));
            }
            _ => namespaces.push(Namespace { kind, path }),
        }
    }
    if !has(&namespaces, Kind::Mount) {
        let why = "has no mount namespace, and without one a container would change the node's mounts: add one";
        return Err(unsupported("linux.namespaces", why));
    }
    Ok(namespaces)
}

fn has(namespaces: &[Namespace], kind: Kind) -> bool {
    namespaces.iter().any(|namespace| namespace.kind == kind)
}

/// Mappings of users and of groups, for a new user namespace.
///
/// With the path of a namespace to join, containerd sends its mappings as well (CRI's
/// `hostUsers: false`): they describe what is there and have no effect here. runc checks that they
/// are the same and goes on (`specconv/spec_linux.go`, `setupUserNamespace`).
pub(super) fn mappings(
    linux: &Linux,
    namespaces: &[Namespace],
) -> Result<(Vec<IdMapping>, Vec<IdMapping>), Refusal> {
    let user = namespaces.iter().find(|namespace| namespace.kind == Kind::User);
    let given =
        [("linux.uidMappings", linux.uid_mappings()), ("linux.gidMappings", linux.gid_mappings())];
    let mut read = Vec::new();
    for (field, mappings) in given {
        let mappings = mappings.as_deref().unwrap_or_default();
        match user {
            None if !mappings.is_empty() => {
                return Err(invalid(field, "needs a user namespace in linux.namespaces"));
            }
            Some(Namespace { path: None, .. }) if mappings.is_empty() => {
                return Err(invalid(
                    field,
                    "is empty, but linux.namespaces asks for a new user namespace",
                ));
            }
            None | Some(Namespace { path: Some(_), .. }) => read.push(Vec::new()),
            Some(Namespace { path: None, .. }) => read.push(ranges(field, mappings)?),
        }
    }
    let gids = read.pop().unwrap_or_default();
    let uids = read.pop().unwrap_or_default();
    Ok((uids, gids))
}

pub(super) fn ranges(field: &str, mappings: &[LinuxIdMapping]) -> Result<Vec<IdMapping>, Refusal> {
    let one = |(n, m): (usize, &LinuxIdMapping)| {
        let (container, host, size) = (m.container_id(), m.host_id(), m.size());
        match size > 0 && container.checked_add(size).is_some() && host.checked_add(size).is_some()
        {
            true => Ok(IdMapping { container, host, size }),
            false => Err(invalid(
                format!("{field}[{n}]"),
                format!("has a size of {size}, which maps no range of ids"),
            )),
        }
    };
    mappings.iter().enumerate().map(one).collect()
}

/// What the user namespace of the container makes of ids, if it has one of its own.
pub(super) fn own_ids(
    namespaces: &[Namespace],
    uids: &[IdMapping],
    gids: &[IdMapping],
) -> Option<Ids> {
    let user = namespaces.iter().find(|namespace| namespace.kind == Kind::User)?;
    Some(match &user.path {
        Some(path) => Ids::OfNamespace(path.clone()),
        None => Ids::Mapped { uids: uids.to_vec(), gids: gids.to_vec() },
    })
}

/// `hostname` and `domainname`, which must not change the node's own.
pub(super) fn host_name(
    field: &str,
    name: &Option<String>,
    namespaces: &[Namespace],
) -> Result<Option<String>, Refusal> {
    let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    no_nul(field, name)?;
    if !has(namespaces, Kind::Uts) {
        return Err(invalid(
            field,
            format!("is {name:?}, which needs a uts namespace in linux.namespaces"),
        ));
    }
    if name.len() > 64 {
        // HOST_NAME_MAX, sethostname(2).
        return Err(invalid(field, format!("has {} bytes: the kernel takes 64", name.len())));
    }
    Ok(Some(name.to_owned()))
}

/// Only those that the kernel keeps apart for one of the container's namespaces; runc's rules
/// (`configs/validate`, `sysctl`).
pub(super) fn sysctl(
    linux: &Linux,
    namespaces: &[Namespace],
) -> Result<BTreeMap<String, String>, Refusal> {
    checked_sysctl(linux.sysctl().iter().flatten(), namespaces)
}

pub(super) fn checked_sysctl<'a>(
    given: impl IntoIterator<Item = (&'a String, &'a String)>,
    namespaces: &[Namespace],
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut checked = BTreeMap::new();
    for (key, value) in given {
        let field = format!("linux.sysctl[{key}]");
        no_nul(&field, key)?;
        no_nul(&field, value)?;
        let dotted = dotted(key);
        // The other separator is part of a name, so that two slashes are two dots of a path.
        if dotted.split('.').any(|name| matches!(name, "" | "/" | "//")) {
            return Err(invalid(field, "is no path below /proc/sys"));
        }
        let (kind, name) = match owner(&dotted) {
            Some(owner) => owner,
            None if dotted == "kernel.hostname" => {
                return Err(invalid(field, "is what the field hostname is for"));
            }
            None => {
                return Err(invalid(
                    field,
                    "is not kept apart by any namespace: it would change the node",
                ));
            }
        };
        if !has(namespaces, kind) {
            return Err(invalid(
                field,
                format!("would change the node: it needs {name} namespace in linux.namespaces"),
            ));
        }
        checked.insert(key.clone(), value.clone());
    }
    Ok(checked)
}

fn owner(dotted: &str) -> Option<(Kind, &'static str)> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if IPC.contains(&dotted) || dotted.starts_with("fs.mqueue.") {
        return Some((Kind::Ipc, "an ipc"));
    }
    if dotted.starts_with("net.") {
        return Some((Kind::Network, "a network"));
    }
    if dotted.starts_with("user.") {
        return Some((Kind::User, "a user"));
    }
    (dotted == "kernel.domainname").then_some((Kind::Uts, "a uts"))
}

/// `net/ipv4/conf/eno2.100/rp_filter` is `net.ipv4.conf.eno2/100.rp_filter` (`sysctl(8)`): the first
/// separator tells which spelling it is.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}
