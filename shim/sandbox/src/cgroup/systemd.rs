//! A group that systemd makes: a transient scope, asked for over D-Bus
//! (org.freedesktop.systemd1(5), runc `opencontainers/cgroups/systemd`).
//!
//! systemd makes no scope without a process, and the guest is born inside of its group: so a
//! process that only waits holds the scope until the guest is there.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::allowed::{self, Allowed};
use super::dbus::{Bus, Value};
use super::{Hierarchies, v2};
use crate::error::Doing;
use crate::sys::{self, Born, Side};
use crate::{Error, Result};

type Properties = Vec<(&'static str, Value)>;

const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The unit to make.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) unit: String,
    slice: String,
}

/// A process that holds the scope until the guest is in it.
#[derive(Debug)]
pub(super) struct Placeholder(Born);

impl Scope {
    /// From the three parts of a `cgroupsPath` such as `system.slice:cri-containerd:id`.
    pub(super) fn new(slice: &str, prefix: &str, name: &str) -> Result<Scope> {
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let plain = |s: &str| !s.contains('/') && !s.starts_with('.');
        if !slice.ends_with(".slice") || !plain(slice) || !plain(name) || name.is_empty() {
            return Err(Error::Refused(format!(
                "linux.cgroupsPath {slice}:{prefix}:{name}: with the systemd driver it is \
                 slice:prefix:name, such as system.slice:cri-containerd:id"
            )));
        }
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        Ok(Scope { unit, slice: slice.into() })
    }

    /// Where systemd puts it: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
    pub(super) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        let stem = self.slice.trim_end_matches(".slice");
        let parts = stem.split('-').filter(|part| !part.is_empty());
        let mut name = String::new();
        for part in parts {
            if !name.is_empty() {
                name.push('-');
            }
            name.push_str(part);
            path.push(format!("{name}.slice"));
        }
        path.push(&self.unit);
        path
    }
}

/// Makes the scope and waits until systemd says that it stands.
pub(super) fn start(
    scope: &Scope,
    hierarchies: &Hierarchies,
    resources: &LinuxResources,
    rules: &[LinuxDeviceCgroup],
) -> Result<Placeholder> {
    let doing = || format!("asking systemd for the scope {} (linux.cgroupsPath)", scope.unit);
    let placeholder = Placeholder::start()?;
    let mut properties = vec![
        ("Description", Value::text(format!("container {}", scope.unit))),
        ("Slice", Value::text(&scope.slice)),
        ("PIDs", Value::Numbers(vec![placeholder.0.pid])),
        // What is below is ours to arrange.
        ("Delegate", Value::Flag(true)),
        ("DefaultDependencies", Value::Flag(false)),
        ("MemoryAccounting", Value::Flag(true)),
        ("CPUAccounting", Value::Flag(true)),
        ("TasksAccounting", Value::Flag(true)),
        // A scope that ended badly is not to be kept for someone to look at.
        ("CollectMode", Value::text("inactive-or-failed")),
    ];
    if matches!(hierarchies, Hierarchies::Unified(_)) {
        properties.push(("IOAccounting", Value::Flag(true)));
    }
    if !rules.is_empty() {
        properties.extend(devices(allowed::by(rules)));
    }
    properties.extend(limits(hierarchies, resources)?);
    let body = [
        Value::text(&scope.unit),
        Value::text("replace"),
        Value::Properties(properties),
        Value::NoUnits,
    ];
    let mut bus = Bus::connect().doing(doing)?;
    bus.watch_jobs().doing(doing)?;
    let job = bus.call(MANAGER, "StartTransientUnit", &body).doing(doing)?;
    let result = bus.wait_for_job(&job).doing(doing)?;
    if result != "done" {
        return Err(Error::Refused(format!("{}: the job ended as {result}", doing())));
    }
    Ok(placeholder)
}

/// Tells systemd too, which would set its own values again at its next reload.
pub(super) fn update(
    unit: &str,
    hierarchies: &Hierarchies,
    resources: &LinuxResources,
) -> Result<()> {
    let properties = limits(hierarchies, resources)?;
    if properties.is_empty() {
        return Ok(());
    }
    let body = [Value::text(unit), Value::Flag(true), Value::Properties(properties)];
    let changed = || -> std::io::Result<()> {
        Bus::connect()?.call(MANAGER, "SetUnitProperties", &body).map(drop)
    };
    changed().doing(|| format!("telling systemd about linux.resources of {unit}"))
}

/// Gone already, or no systemd any more, is done.
pub(super) fn stop(unit: &str) {
    if let Ok(mut bus) = Bus::connect() {
        let _ = bus.call(MANAGER, "StopUnit", &[Value::text(unit), Value::text("replace")]);
        let _ = bus.call(MANAGER, "ResetFailedUnit", &[Value::text(unit)]);
    }
}

/// The resources that systemd writes to the same files as we do: what it is not told, it resets when it
/// has another reason to write.
fn limits(hierarchies: &Hierarchies, resources: &LinuxResources) -> Result<Properties> {
    match hierarchies {
        Hierarchies::Unified(_) => {
            Ok(v2::settings(resources)?.iter().flat_map(|s| unified(&s.file, &s.value)).collect())
        }
        Hierarchies::Legacy(_) => Ok(legacy(resources)),
    }
}

/// The properties behind a v2 control file (runc `systemd/v2.go`, `unifiedResToSystemdProps`); those
/// for processors since systemd 244.
fn unified(file: &str, value: &str) -> Properties {
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpu.max" => {
            let mut words = value.split_whitespace();
            let quota = words.next().and_then(|word| word.parse().ok());
            return bandwidth(quota, words.next().and_then(|word| word.parse().ok()));
        }
        "cpuset.cpus" => return vec![("AllowedCPUs", Value::Bytes(bits(value)))],
        "cpuset.mems" => return vec![("AllowedMemoryNodes", Value::Bytes(bits(value)))],
        _ => return Vec::new(),
    };
    // No number is `max`, or what the kernel will refuse by name.
    vec![(name, Value::Number(value.trim().parse().unwrap_or(u64::MAX)))]
}

fn legacy(resources: &LinuxResources) -> Properties {
    let mut out = Vec::new();
    let number = |n: i64| Value::Number(u64::try_from(n).unwrap_or(u64::MAX));
    if let Some(limit) = resources.memory().and_then(|m| m.limit()).filter(|l| *l != 0) {
        out.push(("MemoryLimit", number(limit)));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|s| *s != 0) {
            out.push(("CPUShares", Value::Number(shares)));
        }
        if let Some(quota) = cpu.quota().filter(|q| *q != 0) {
            out.extend(bandwidth(u64::try_from(quota).ok(), cpu.period()));
        }
    }
    if let Some(pids) = resources.pids().map(|p| p.limit()).filter(|l| *l != 0) {
        out.push(("TasksMax", number(pids)));
    }
    out
}

fn devices(allowed: Allowed) -> Properties {
    match allowed {
        Allowed::Everything => vec![("DevicePolicy", Value::text("auto"))],
        Allowed::Only(all) => {
            vec![("DevicePolicy", Value::text("strict")), ("DeviceAllow", Value::Pairs(all))]
        }
    }
}

fn bandwidth(quota: Option<u64>, period: Option<u64>) -> Properties {
    let period = period.filter(|p| *p != 0).unwrap_or(100_000);
    // systemd rounds to 10 ms for a second and writes what it has: as runc, upwards.
    let per_second = quota.map_or(u64::MAX, |q| (q * 1_000_000 / period).next_multiple_of(10_000));
    vec![
        ("CPUQuotaPerSecUSec", Value::Number(per_second)),
        ("CPUQuotaPeriodUSec", Value::Number(period)),
    ]
}

/// A list such as `0-3,7` as a bit for each, the lowest first.
fn bits(list: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>())
        else {
            continue;
        };
        for n in first..=last {
            let (byte, bit) = (usize::from(n / 8), n % 8);
            out.resize(out.len().max(byte + 1), 0);
            out[byte] |= 1 << bit;
        }
    }
    out
}

impl Placeholder {
    fn start() -> Result<Placeholder> {
        // SAFETY: the child makes three system calls and waits.
        match unsafe { sys::fork(0, None, libc::SIGCHLD) } {
            Ok(Side::Child) => {
                let _ = sys::close_from(0);
                loop {
                    // Nothing to poll, for ever: until it is killed.
                    let _ = rustix::event::poll(&mut [], None);
                }
            }
            Ok(Side::Parent(born)) => Ok(Placeholder(born)),
            Err(errno) => Err(errno).doing(|| "starting a process that holds the scope".into()),
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        crate::spawn::end(&self.0.pidfd);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_scope_lies_where_systemd_puts_it() {
        let path = |slice, prefix, name| Scope::new(slice, prefix, name).unwrap().path();
        let kubepods = "kubepods-burstable-pod1_2.slice";
        assert_eq!(
            path(kubepods, "cri-containerd", "abc").display().to_string(),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/\
             cri-containerd-abc.scope"
        );
        assert_eq!(path("", "docker", "x").display().to_string(), "/system.slice/docker-x.scope");
        assert_eq!(path("-.slice", "", "x").display().to_string(), "/x.scope");
        assert!(Scope::new("../x", "a", "b").is_err());
        assert!(Scope::new("a.slice", "a", "../b").is_err());
    }

    #[test]
    fn systemd_is_told_the_same_limits() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":100,"swap":150},
                "cpu":{"shares":1024,"quota":25001,"cpus":"0-2,9","mems":"0"},"pids":{"limit":-1},
                "unified":{"memory.high":"90","memory.max":"95","cpu.max":"max","io.max":"8:0 rbps=1"}}"#,
        )
        .unwrap();
        let told = |h: &Hierarchies, resources: &LinuxResources| {
            let one = |(k, v): (&str, Value)| match v {
                Value::Number(u64::MAX) => format!("{k}=max\n"),
                Value::Number(n) => format!("{k}={n}\n"),
                v => format!("{k}={v:?}\n"),
            };
            limits(h, resources).unwrap().into_iter().map(one).collect::<String>()
        };
        // Of two of a name systemd takes the later.
        expect![[r#"
            MemorySwapMax=50
            MemoryMax=100
            CPUWeight=100
            CPUQuotaPerSecUSec=260000
            CPUQuotaPeriodUSec=100000
            AllowedCPUs=Bytes([7, 2])
            AllowedMemoryNodes=Bytes([1])
            TasksMax=max
            CPUQuotaPerSecUSec=max
            CPUQuotaPeriodUSec=100000
            MemoryHigh=90
            MemoryMax=95
        "#]]
        .assert_eq(&told(&Hierarchies::Unified("/".into()), &resources));
        expect![[r#"
            MemoryLimit=100
            CPUShares=1024
            CPUQuotaPerSecUSec=260000
            CPUQuotaPeriodUSec=100000
            TasksMax=max
        "#]]
        .assert_eq(&told(&Hierarchies::Legacy(Vec::new()), &resources));
        let no_swap_limit = serde_json::from_str(r#"{"memory":{"limit":-1,"swap":-1}}"#).unwrap();
        expect![[r#"
            MemorySwapMax=max
            MemoryMax=max
        "#]]
        .assert_eq(&told(&Hierarchies::Unified("/".into()), &no_swap_limit));
    }
}
