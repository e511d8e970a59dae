//! Where the container is accounted, what it may use, and what its limits mean for the engine.

use std::num::NonZeroU16;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxResources};

use super::mounts::clean;
use super::options::CgroupDriver;
use super::{CgroupVersion, Facts, Input, Refusal, devices, invalid, unsupported};
use crate::plan::{Cgroup, CgroupPlace};

pub(super) fn of(input: Input<'_>, linux: &Linux) -> Result<Cgroup, Refusal> {
    if let Some(resources) = linux.resources() {
        honourable(resources, input.facts.cgroup)?;
    }
    Ok(Cgroup {
        place: place(input, linux)?,
        resources: linux.resources().clone(),
        devices: devices::rules(linux)?,
    })
}

/// containerd sends `slice:prefix:name` where the kubelet or Docker uses the systemd driver, and a
/// path where not. runc has to be told which by an option; a runtime of another type has no such
/// option of containerd's, so that the form decides, unless the administrator does.
fn place(input: Input<'_>, linux: &Linux) -> Result<CgroupPlace, Refusal> {
    let given = linux.cgroups_path().as_deref().unwrap_or(Path::new(""));
    let Some(text) = given.to_str().filter(|text| !text.contains('\0')) else {
        return Err(invalid("linux.cgroupsPath", "is no text"));
    };
    let parts: Vec<&str> = text.split(':').collect();
    let scope = match parts[..] {
        [slice, prefix, name] if !text.starts_with('/') => Some((slice, prefix, name)),
        _ => None,
    };
    if by_systemd(input.options.cgroup_driver, input.facts, text, scope.is_some())? {
        return systemd(input, text, scope);
    }
    if text.is_empty() {
        return Ok(CgroupPlace::Path(Path::new("/wherry").join(input.namespace).join(input.id)));
    }
    match clean(given) {
        root if root == Path::new("/") => Err(invalid(
            "linux.cgroupsPath",
            format!("is {text:?}, the root: name a cgroup of the container's own"),
        )),
        path => Ok(CgroupPlace::Path(path)),
    }
}

fn by_systemd(
    driver: CgroupDriver,
    facts: &Facts,
    text: &str,
    is_scope: bool,
) -> Result<bool, Refusal> {
    match driver {
        CgroupDriver::Auto => Ok(is_scope && facts.systemd),
        CgroupDriver::Cgroupfs => Ok(false),
        CgroupDriver::Systemd if !facts.systemd => Err(unsupported(
            "SystemdCgroup",
            "is true in the runtime's options, but systemd does not run this node",
        )),
        CgroupDriver::Systemd if !text.is_empty() && !is_scope => Err(invalid(
            "linux.cgroupsPath",
            format!(
                "is {text:?}: with SystemdCgroup in the runtime's options it must be slice:prefix:name \
                 (set the kubelet's cgroupDriver to systemd, too)"
            ),
        )),
        CgroupDriver::Systemd => Ok(true),
    }
}

fn systemd(
    input: Input<'_>,
    text: &str,
    scope: Option<(&str, &str, &str)>,
) -> Result<CgroupPlace, Refusal> {
    let own_name = format!("{}-{}", input.namespace, input.id);
    let (slice, prefix, name) = scope.unwrap_or(("", "wherry", &own_name));
    if name.is_empty() {
        return Err(invalid("linux.cgroupsPath", format!("is {text:?}, which names no scope")));
    }
    // runc's default for a missing slice (`cgroups/systemd`).
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    Ok(CgroupPlace::Systemd { slice: slice.into(), prefix: prefix.into(), name: name.into() })
}

/// Limits that the node's cgroups have no file for. runc drops most of them without a word.
fn honourable(resources: &LinuxResources, version: CgroupVersion) -> Result<(), Refusal> {
    let memory = resources.memory().as_ref();
    let kernel = memory.and_then(|m| {
        // Obsolete since Linux 5.4, and gone from Kubernetes and Docker; deprecated here for it.
        #[allow(deprecated)]
        m.kernel().or(m.kernel_tcp())
    });
    if kernel.is_some() {
        return Err(unsupported(
            "linux.resources.memory.kernel",
            "is obsolete: kernel memory counts as memory",
        ));
    }
    if memory.and_then(|m| m.use_hierarchy()) == Some(false) {
        return Err(unsupported(
            "linux.resources.memory.useHierarchy",
            "is false: memory is always hierarchical",
        ));
    }
    match version {
        CgroupVersion::V1
            if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) =>
        {
            Err(unsupported(
                "linux.resources.unified",
                "needs cgroup v2, which this node does not have",
            ))
        }
        CgroupVersion::V1 => Ok(()),
        CgroupVersion::V2 => only_v1(resources),
    }
}

fn only_v1(resources: &LinuxResources) -> Result<(), Refusal> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block = resources.block_io().as_ref();
    let network = resources.network().as_ref();
    let found = [
        (memory.and_then(|m| m.disable_oom_killer()) == Some(true), "memory.disableOOMKiller"),
        (memory.is_some_and(|m| m.swappiness().is_some()), "memory.swappiness"),
        (cpu.and_then(|c| c.realtime_runtime()).is_some_and(|us| us != 0), "cpu.realtimeRuntime"),
        (cpu.and_then(|c| c.realtime_period()).is_some_and(|us| us != 0), "cpu.realtimePeriod"),
        (
            block.and_then(|b| b.leaf_weight()).is_some_and(|weight| weight != 0),
            "blockIO.leafWeight",
        ),
        (network.and_then(|n| n.class_id()).is_some_and(|class| class != 0), "network.classID"),
        (
            network.is_some_and(|n| n.priorities().as_ref().is_some_and(|p| !p.is_empty())),
            "network.priorities",
        ),
    ];
    if let Some((_, field)) = found.into_iter().find(|(present, _)| *present) {
        return Err(unsupported(
            format!("linux.resources.{field}"),
            "needs cgroup v1, which this node does not have",
        ));
    }
    // v2 counts swap alone, the spec memory and swap together; runc refuses the same.
    match memory.map(|m| (m.limit(), m.swap())) {
        Some((Some(limit), Some(swap))) if limit > 0 && swap > 0 && swap < limit => Err(invalid(
            "linux.resources.memory.swap",
            format!(
                "is {swap}, less than the memory limit of {limit}: it is the sum of memory and swap"
            ),
        )),
        _ => Ok(()),
    }
}

/// Bytes, where there is a limit.
pub(super) fn memory_limit(linux: &Linux) -> Option<u64> {
    let limit = linux.resources().as_ref()?.memory().as_ref()?.limit()?;
    u64::try_from(limit).ok().filter(|limit| *limit > 0)
}

/// The CPU limit as threads: the quota rounded up, no more than the set of processors has.
pub(super) fn threads(linux: &Linux, cpus: NonZeroU16) -> Result<Option<NonZeroU16>, Refusal> {
    let Some(cpu) = linux.resources().as_ref().and_then(|resources| resources.cpu().as_ref())
    else {
        return Ok(None);
    };
    // 100 ms is the kernel's period, too, where only a quota is given.
    let period = cpu.period().filter(|us| *us > 0).unwrap_or(100_000);
    let quota = cpu.quota().and_then(|us| u64::try_from(us).ok()).filter(|us| *us > 0);
    let quota = quota.map(|us| us.div_ceil(period));
    let set = match cpu.cpus().as_deref().filter(|list| !list.trim().is_empty()) {
        None => None,
        Some(list) => match count(list) {
            Some(count) => Some(count),
            None => {
                return Err(invalid(
                    "linux.resources.cpu.cpus",
                    format!("is {list:?}: it must be a list such as 0-3,7"),
                ));
            }
        },
    };
    let fewest = [quota, set].into_iter().flatten().min();
    Ok(fewest.map(|n| {
        NonZeroU16::new(u16::try_from(n).unwrap_or(u16::MAX)).map_or(cpus, |n| n.min(cpus))
    }))
}

/// How many processors a list of the form `0-3,7` names (`cpuset(7)`, "List format").
fn count(list: &str) -> Option<u64> {
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.sum()
}
