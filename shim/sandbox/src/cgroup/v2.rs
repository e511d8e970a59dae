//! What the resources of the OCI spec are in v2 control files: the table of runc's
//! `opencontainers/cgroups/fs2`, in its order.

use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice,
};

use super::settings::Setting;
use super::v1::pids_setting;
use super::write;
use crate::error::Doing;
use crate::{Error, Result};

pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut out)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut out)?;
    }
    if let Some(pids) = resources.pids() {
        pids_setting(pids.limit(), &mut out);
    }
    if let Some(io) = resources.block_io() {
        io_settings(io, &mut out)?;
    }
    for huge in resources.hugepage_limits().iter().flatten() {
        let field = "linux.resources.hugepageLimits";
        let file = |kind| format!("hugetlb.{}.{kind}", huge.page_size());
        out.push(Setting::new(field, "hugetlb", file("max"), huge.limit()));
        let mut reserved = Setting::new(field, "hugetlb", file("rsvd.max"), huge.limit());
        // Kernels before 5.7 do not count reservations.
        reserved.may_be_missing = true;
        out.push(reserved);
    }
    if let Some(network) = resources.network()
        && (network.class_id().is_some_and(|c| c != 0)
            || network.priorities().iter().flatten().next().is_some())
    {
        return Err(Error::Refused(
            "linux.resources.network is of cgroup v1, and this node has v2: leave it out".into(),
        ));
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let value = rdma_value(device, limit);
        out.push(Setting::new("linux.resources.rdma", "rdma", "rdma.max", value));
    }
    // Last, so that it overrides (runtime spec, "Unified").
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (key, value) in unified {
        if key.contains('/') || !key.contains('.') {
            return Err(Error::Refused(format!(
                "linux.resources.unified {key} names no control file, such as memory.high"
            )));
        }
        out.push(Setting::new("linux.resources.unified", "", key, value));
    }
    Ok(out)
}

fn memory_settings(memory: &LinuxMemory, out: &mut Vec<Setting>) -> Result<()> {
    let refuse = |field: &str| {
        Err(Error::Refused(format!(
            "linux.resources.memory.{field} is of cgroup v1, and this node has v2: leave it out"
        )))
    };
    if memory.kernel().is_some_and(|k| k > 0) {
        return refuse("kernel");
    }
    if memory.kernel_tcp().is_some_and(|k| k > 0) {
        return refuse("kernelTCP");
    }
    if memory.swappiness().is_some() {
        return refuse("swappiness");
    }
    if memory.disable_oom_killer() == Some(true) {
        return refuse("disableOOMKiller");
    }
    if let Some(swap) = swap_max(memory)? {
        let field = "linux.resources.memory.swap";
        let mut setting = Setting::new(field, "memory", "memory.swap.max", &swap);
        // fs2/memory.go: without swap in the kernel both are what is anyway.
        setting.may_be_missing = swap == "max" || swap == "0";
        out.push(setting);
    }
    if let Some(limit) = memory.limit().filter(|l| *l != 0) {
        let field = "linux.resources.memory.limit";
        out.push(Setting::new(field, "memory", "memory.max", max_or(limit)));
    }
    if let Some(low) = memory.reservation().filter(|r| *r != 0) {
        let field = "linux.resources.memory.reservation";
        out.push(Setting::new(field, "memory", "memory.low", max_or(low)));
    }
    Ok(())
}

/// The spec's swap is memory plus swap; v2 counts swap alone.
fn swap_max(memory: &LinuxMemory) -> Result<Option<String>> {
    let limit = memory.limit().unwrap_or(0);
    match memory.swap().unwrap_or(0) {
        0 if limit == -1 => Ok(Some("max".into())),
        0 => Ok(None),
        -1 => Ok(Some("max".into())),
        swap if limit == -1 => Ok(Some(swap.to_string())),
        swap if limit > 0 && swap >= limit => Ok(Some((swap - limit).to_string())),
        swap => Err(Error::Refused(format!(
            "linux.resources.memory.swap {swap} counts memory and swap together: it must not be \
             less than linux.resources.memory.limit {limit}"
        ))),
    }
}

fn max_or(n: i64) -> String {
    if n < 0 { "max".into() } else { n.to_string() }
}

fn cpu_settings(cpu: &LinuxCpu, out: &mut Vec<Setting>) -> Result<()> {
    if cpu.realtime_period().is_some_and(|p| p != 0)
        || cpu.realtime_runtime().is_some_and(|r| r != 0)
    {
        return Err(Error::Refused(
            "linux.resources.cpu.realtimePeriod and realtimeRuntime are of cgroup v1, and this \
             node has v2: leave them out"
                .into(),
        ));
    }
    let mut push = |field, controller, file: &str, value: String| {
        out.push(Setting::new(field, controller, file, value));
    };
    if let Some(idle) = cpu.idle() {
        push("linux.resources.cpu.idle", "cpu", "cpu.idle", idle.to_string());
    }
    // The weight of an idle group cannot be set (fs2/cpu.go).
    if let Some(shares) = cpu.shares().filter(|s| *s != 0 && cpu.idle() != Some(1)) {
        let field = "linux.resources.cpu.shares";
        push(field, "cpu", "cpu.weight", weight_of_shares(shares).to_string());
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().filter(|p| *p != 0));
    if quota != 0 || period.is_some() {
        let quota = if quota > 0 { quota.to_string() } else { "max".into() };
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        push("linux.resources.cpu.quota", "cpu", "cpu.max", value);
    }
    if let Some(burst) = cpu.burst() {
        push("linux.resources.cpu.burst", "cpu", "cpu.max.burst", burst.to_string());
    }
    if let Some(cpus) = cpu.cpus().as_ref().filter(|c| !c.is_empty()) {
        push("linux.resources.cpu.cpus", "cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|c| !c.is_empty()) {
        push("linux.resources.cpu.mems", "cpuset", "cpuset.mems", mems.clone());
    }
    Ok(())
}

/// Shares [2, 262144] as a weight [1, 10000] with 1024 at 100, which is the default of both
/// (`opencontainers/cgroups` 0.0.3 `ConvertCPUSharesToCgroupV2Value`; a straight line between the
/// ends made 1024 shares a weight of 39).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        n => {
            let l = (n as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

fn io_settings(io: &LinuxBlockIo, out: &mut Vec<Setting>) -> Result<()> {
    if io.leaf_weight().is_some_and(|w| w != 0) {
        return Err(Error::Refused(
            "linux.resources.blockIO.leafWeight is of cgroup v1, and this node has v2: leave it \
             out"
            .into(),
        ));
    }
    let mut weight = |field, bfq: String, plain: String| {
        let mut setting = Setting::new(field, "io", "io.bfq.weight", bfq);
        setting.instead = Some(("io.weight".into(), plain));
        out.push(setting);
    };
    // io.weight has another scale than BFQ's [10, 1000] (fs2/io.go ConvertBlkIOToIOWeightValue).
    let scaled = |w: u16| 1 + (u64::from(w).max(10) - 10) * 9999 / 990;
    if let Some(w) = io.weight().filter(|w| *w != 0) {
        weight("linux.resources.blockIO.weight", w.to_string(), scaled(w).to_string());
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(w) = device.weight() {
            let at = format!("{}:{}", device.major(), device.minor());
            let field = "linux.resources.blockIO.weightDevice";
            weight(field, format!("{at} {w}"), format!("{at} {}", scaled(w)));
        }
    }
    let limits: [(_, _, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("linux.resources.blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device()),
        ("linux.resources.blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device()),
        ("linux.resources.blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device()),
        (
            "linux.resources.blockIO.throttleWriteIOPSDevice",
            "wiops",
            io.throttle_write_iops_device(),
        ),
    ];
    for (field, key, devices) in limits {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            out.push(Setting::new(field, "io", "io.max", value));
        }
    }
    Ok(())
}

pub(super) fn rdma_value(device: &str, limit: &LinuxRdma) -> String {
    let part = |key, n: Option<u32>| n.map(|n| format!(" {key}={n}")).unwrap_or_default();
    let handles = part("hca_handle", limit.hca_handles());
    format!("{device}{handles}{}", part("hca_object", limit.hca_objects()))
}

/// Turns all controllers on in the parents of `folder`, down from the root. Costs one read where
/// they are on already.
pub(super) fn enable_controllers(root: &Path, folder: &Path) -> Result<()> {
    let read = |path: &Path| {
        std::fs::read_to_string(path.join("cgroup.controllers"))
            .doing(|| format!("reading the controllers of {}", path.display()))
    };
    let (all, have) = (read(root)?, read(folder)?);
    let missing = |have: &str| {
        let have: Vec<_> = have.split_whitespace().collect();
        all.split_whitespace().filter(|c| !have.contains(c)).map(|c| format!("+{c}")).collect()
    };
    let wanted: Vec<String> = missing(&have);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut parents: Vec<_> =
        folder.ancestors().skip(1).take_while(|p| p.starts_with(root)).collect();
    parents.reverse();
    for parent in parents {
        for controller in &wanted {
            // Some do not go (cpu with real-time tasks around, or the parent has processes of its
            // own): a resource that needs one fails by name when it is written (fs2/create.go).
            let _ = write(&parent.join("cgroup.subtree_control"), controller);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::settings::lines;
    use super::*;
    use expect_test::{Expect, expect};

    fn check(resources: &str, expect: Expect) {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let told = match settings(&resources) {
            Ok(settings) => lines(&settings),
            Err(e) => e.sentence(),
        };
        expect.assert_eq(&told);
    }

    #[test]
    fn resources_become_v2_files() {
        check(
            r#"{"memory":{"limit":1000,"swap":2500,"reservation":500},
                "cpu":{"shares":1024,"quota":50000,"burst":1,"cpus":"0-1"},
                "pids":{"limit":16},"unified":{"memory.high":"900","cpu.weight":"7"}}"#,
            expect![[r#"
                memory/memory.swap.max = 1500
                memory/memory.max = 1000
                memory/memory.low = 500
                cpu/cpu.weight = 100
                cpu/cpu.max = 50000 100000
                cpu/cpu.max.burst = 1
                cpuset/cpuset.cpus = 0-1
                pids/pids.max = 16
                /cpu.weight = 7
                /memory.high = 900
            "#]],
        );
        check(
            r#"{"memory":{"limit":-1},"cpu":{"quota":-1,"idle":1,"shares":5},
                "blockIO":{"weight":500,"throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":9}]},
                "hugepageLimits":[{"pageSize":"1GB","limit":0}],
                "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10}}}"#,
            expect![[r#"
                memory/memory.swap.max = max
                memory/memory.max = max
                cpu/cpu.idle = 1
                cpu/cpu.max = max 100000
                io/io.bfq.weight = 500
                io/io.max = 8:1 wiops=9
                hugetlb/hugetlb.1GB.max = 0
                hugetlb/hugetlb.1GB.rsvd.max = 0
                rdma/rdma.max = mlx5_1 hca_handle=3 hca_object=10
            "#]],
        );
    }

    #[test]
    fn shares_keep_the_default_the_default() {
        let weights = [2, 100, 512, 1024, 2048, 262_144].map(weight_of_shares);
        expect!["[1, 17, 59, 100, 174, 10000]"].assert_eq(&format!("{weights:?}"));
    }

    #[test]
    fn what_v2_cannot_do_is_refused_by_name() {
        check(
            r#"{"memory":{"disableOOMKiller":true}}"#,
            expect![
                "linux.resources.memory.disableOOMKiller is of cgroup v1, and this node has v2: leave it out"
            ],
        );
        check(
            r#"{"memory":{"limit":10,"swap":5}}"#,
            expect![
                "linux.resources.memory.swap 5 counts memory and swap together: it must not be less than linux.resources.memory.limit 10"
            ],
        );
        check(
            r#"{"unified":{"../x.y":"1"}}"#,
            expect!["linux.resources.unified ../x.y names no control file, such as memory.high"],
        );
    }
}
