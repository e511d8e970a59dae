//! What the resources of the OCI spec are in v1 control files: the table of runc's
//! `opencontainers/cgroups/fs`, in its order.

use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

use super::settings::Setting;
use super::write;
use crate::error::Doing;
use crate::{Error, Result};

/// The files to write. `mounted` tells whether a controller's hierarchy is there.
pub(super) fn settings(
    resources: &LinuxResources,
    mounted: impl Fn(&str) -> bool,
) -> Result<Vec<Setting>> {
    if let Some(key) = resources.unified().iter().flatten().map(|(key, _)| key).min() {
        return Err(Error::Refused(format!(
            "linux.resources.unified {key} is of cgroup v2, and this node has v1: use the fields \
             of linux.resources"
        )));
    }
    let mut out = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut out)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut out);
    }
    if let Some(pids) = resources.pids() {
        pids_setting(pids.limit(), &mut out);
    }
    if let Some(io) = resources.block_io() {
        io_settings(io, &mut out);
    }
    for huge in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", huge.page_size());
        out.push(Setting::new("linux.resources.hugepageLimits", "hugetlb", file, huge.limit()));
    }
    if let Some(network) = resources.network() {
        network_settings(network, &mut out);
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let value = super::v2::rdma_value(device, limit);
        out.push(Setting::new("linux.resources.rdma", "rdma", "rdma.max", value));
    }
    for setting in &out {
        if !mounted(setting.controller) {
            return Err(Error::Refused(format!(
                "{} needs the cgroup controller {}, which this node does not have",
                setting.field, setting.controller
            )));
        }
    }
    Ok(out)
}

fn memory_settings(memory: &LinuxMemory, out: &mut Vec<Setting>) -> Result<()> {
    let mut push = |field, file: &str, value: i64| {
        out.push(Setting::new(field, "memory", file, value));
        out.len() - 1
    };
    let limit = memory.limit().filter(|l| *l != 0);
    // runc `memory.go` setMemoryAndSwap: without a limit of memory there is none of swap.
    let swap = match (limit, memory.swap()) {
        (Some(-1), None | Some(0)) => Some(-1),
        (_, swap) => swap.filter(|s| *s != 0),
    };
    if let Some(limit) = limit {
        let at = push("linux.resources.memory.limit", "memory.limit_in_bytes", limit);
        out[at].again_after_next = swap.is_some();
    }
    let mut push = |field, file: &str, value: i64| {
        out.push(Setting::new(field, "memory", file, value));
        out.len() - 1
    };
    if let Some(swap) = swap {
        let at = push("linux.resources.memory.swap", "memory.memsw.limit_in_bytes", swap);
        // Without accounting of swap, "no swap beyond the memory" and "any" are what is anyway
        // (runc `memory.go` setSwap; Docker and CRI send such values by themselves).
        out[at].may_be_missing = swap == -1 || Some(swap) == limit;
    }
    if let Some(soft) = memory.reservation().filter(|r| *r != 0) {
        out.push(Setting::new(
            "linux.resources.memory.reservation",
            "memory",
            "memory.soft_limit_in_bytes",
            soft,
        ));
    }
    if let Some(kernel) = memory.kernel().filter(|k| *k > 0) {
        return Err(Error::Refused(format!(
            "linux.resources.memory.kernel {kernel} cannot be honoured: kernels since 5.16 do not \
             limit kernel memory apart; use linux.resources.memory.limit"
        )));
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|k| *k != 0) {
        out.push(Setting::new(
            "linux.resources.memory.kernelTCP",
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            tcp,
        ));
    }
    if memory.disable_oom_killer() == Some(true) {
        out.push(Setting::new(
            "linux.resources.memory.disableOOMKiller",
            "memory",
            "memory.oom_control",
            1,
        ));
    }
    if let Some(swappiness) = memory.swappiness() {
        out.push(Setting::new(
            "linux.resources.memory.swappiness",
            "memory",
            "memory.swappiness",
            swappiness,
        ));
    }
    Ok(())
}

fn cpu_settings(cpu: &LinuxCpu, out: &mut Vec<Setting>) {
    let mut push = |field, controller, file: &str, value: String| {
        out.push(Setting::new(field, controller, file, value));
        out.len() - 1
    };
    if let Some(shares) = cpu.shares().filter(|s| *s != 0) {
        push("linux.resources.cpu.shares", "cpu", "cpu.shares", shares.to_string());
    }
    // A runtime is bounded by its period, so the period comes first.
    if let Some(period) = cpu.realtime_period().filter(|p| *p != 0) {
        push("linux.resources.cpu.realtimePeriod", "cpu", "cpu.rt_period_us", period.to_string());
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|r| *r != 0) {
        push(
            "linux.resources.cpu.realtimeRuntime",
            "cpu",
            "cpu.rt_runtime_us",
            runtime.to_string(),
        );
    }
    let quota = cpu.quota().filter(|q| *q != 0);
    let period = cpu.period().filter(|p| *p != 0);
    let mut bounded = None;
    if let Some(period) = period {
        bounded = Some(push(
            "linux.resources.cpu.period",
            "cpu",
            "cpu.cfs_period_us",
            period.to_string(),
        ));
    }
    if let Some(quota) = quota {
        push("linux.resources.cpu.quota", "cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(burst) = cpu.burst() {
        push("linux.resources.cpu.burst", "cpu", "cpu.cfs_burst_us", burst.to_string());
    }
    if let Some(idle) = cpu.idle() {
        push("linux.resources.cpu.idle", "cpu", "cpu.idle", idle.to_string());
    }
    if let Some(cpus) = cpu.cpus().as_ref().filter(|c| !c.is_empty()) {
        push("linux.resources.cpu.cpus", "cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|c| !c.is_empty()) {
        push("linux.resources.cpu.mems", "cpuset", "cpuset.mems", mems.clone());
    }
    if let (Some(at), Some(_)) = (bounded, quota) {
        out[at].again_after_next = true;
    }
}

/// As runc's: 0 was "not set" for long, and nobody wants a container without a process.
pub(super) fn pids_setting(limit: i64, out: &mut Vec<Setting>) {
    let value = match limit {
        0 => return,
        n if n < 0 => "max".to_owned(),
        n => n.to_string(),
    };
    out.push(Setting::new("linux.resources.pids.limit", "pids", "pids.max", value));
}

fn io_settings(io: &LinuxBlockIo, out: &mut Vec<Setting>) {
    let mut push = |field, file: &str, instead: Option<&str>, value: String| {
        let mut setting = Setting::new(field, "blkio", file, value.clone());
        // BFQ renamed the files of the CFQ scheduler, which is gone since 5.0.
        setting.instead = instead.map(|file| (file.to_owned(), value));
        out.push(setting);
    };
    if let Some(weight) = io.weight().filter(|w| *w != 0) {
        let field = "linux.resources.blockIO.weight";
        push(field, "blkio.weight", Some("blkio.bfq.weight"), weight.to_string());
    }
    if let Some(weight) = io.leaf_weight().filter(|w| *w != 0) {
        push("linux.resources.blockIO.leafWeight", "blkio.leaf_weight", None, weight.to_string());
    }
    for device in io.weight_device().iter().flatten() {
        let field = "linux.resources.blockIO.weightDevice";
        let of = |weight| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight() {
            push(field, "blkio.weight_device", Some("blkio.bfq.weight_device"), of(weight));
        }
        if let Some(weight) = device.leaf_weight() {
            push(field, "blkio.leaf_weight_device", None, of(weight));
        }
    }
    for (field, file, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            push(field, file, None, value);
        }
    }
}

fn throttles(
    io: &LinuxBlockIo,
) -> [(&'static str, &'static str, impl Iterator<Item = &LinuxThrottleDevice>); 4] {
    [
        (
            "linux.resources.blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            io.throttle_read_bps_device().iter().flatten(),
        ),
        (
            "linux.resources.blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device().iter().flatten(),
        ),
        (
            "linux.resources.blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device().iter().flatten(),
        ),
        (
            "linux.resources.blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device().iter().flatten(),
        ),
    ]
}

fn network_settings(network: &LinuxNetwork, out: &mut Vec<Setting>) {
    if let Some(class) = network.class_id().filter(|c| *c != 0) {
        out.push(Setting::new(
            "linux.resources.network.classID",
            "net_cls",
            "net_cls.classid",
            class,
        ));
    }
    for priority in network.priorities().iter().flatten() {
        let value = format!("{} {}", priority.name(), priority.priority());
        let field = "linux.resources.network.priorities";
        out.push(Setting::new(field, "net_prio", "net_prio.ifpriomap", value));
    }
}

/// A new cpuset is empty and nothing can enter it: it and its parents get what their parents have
/// (runc `cpuset.go` cpusetEnsureParent).
pub(super) fn inherit_cpuset(folder: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fill(folder, file).doing(|| format!("filling {file} of {}", folder.display()))?;
    }
    Ok(())
}

fn fill(folder: &Path, file: &str) -> std::io::Result<String> {
    let value = std::fs::read_to_string(folder.join(file))?;
    if !value.trim().is_empty() {
        return Ok(value);
    }
    let Some(parent) = folder.parent() else { return Ok(value) };
    let value = fill(parent, file)?;
    write(&folder.join(file), value.trim())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::settings::lines;
    use super::*;
    use expect_test::{Expect, expect};

    fn check(resources: &str, expect: Expect) {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let told = match settings(&resources, |c| c != "rdma") {
            Ok(settings) => lines(&settings),
            Err(e) => e.sentence(),
        };
        expect.assert_eq(&told);
    }

    #[test]
    fn resources_become_v1_files() {
        check(
            r#"{"memory":{"limit":1000,"swap":2000,"reservation":500,"swappiness":10},
                "cpu":{"shares":512,"quota":50000,"period":100000,"burst":1,"cpus":"0-1","mems":"0"},
                "pids":{"limit":-1}}"#,
            expect![[r#"
                memory/memory.limit_in_bytes = 1000
                memory/memory.memsw.limit_in_bytes = 2000
                memory/memory.soft_limit_in_bytes = 500
                memory/memory.swappiness = 10
                cpu/cpu.shares = 512
                cpu/cpu.cfs_period_us = 100000
                cpu/cpu.cfs_quota_us = 50000
                cpu/cpu.cfs_burst_us = 1
                cpuset/cpuset.cpus = 0-1
                cpuset/cpuset.mems = 0
                pids/pids.max = max
            "#]],
        );
        check(
            r#"{"blockIO":{"weight":100,"weightDevice":[{"major":8,"minor":0,"weight":50}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1024}]},
                "hugepageLimits":[{"pageSize":"2MB","limit":4096}],
                "network":{"classID":7,"priorities":[{"name":"eth0","priority":3}]}}"#,
            expect![[r#"
                blkio/blkio.weight = 100
                blkio/blkio.weight_device = 8:0 50
                blkio/blkio.throttle.read_bps_device = 8:0 1024
                hugetlb/hugetlb.2MB.limit_in_bytes = 4096
                net_cls/net_cls.classid = 7
                net_prio/net_prio.ifpriomap = eth0 3
            "#]],
        );
        check(
            r#"{"memory":{"limit":-1}}"#,
            expect![[r#"
                memory/memory.limit_in_bytes = -1
                memory/memory.memsw.limit_in_bytes = -1
            "#]],
        );
    }

    #[test]
    fn what_v1_cannot_do_is_refused_by_name() {
        check(
            r#"{"unified":{"memory.high":"1"}}"#,
            expect![
                "linux.resources.unified memory.high is of cgroup v2, and this node has v1: use the fields of linux.resources"
            ],
        );
        check(
            r#"{"rdma":{"mlx5_1":{"hcaHandles":3}}}"#,
            expect![
                "linux.resources.rdma needs the cgroup controller rdma, which this node does not have"
            ],
        );
        check(
            r#"{"memory":{"kernel":4096}}"#,
            expect![
                "linux.resources.memory.kernel 4096 cannot be honoured: kernels since 5.16 do not limit kernel memory apart; use linux.resources.memory.limit"
            ],
        );
    }
}
