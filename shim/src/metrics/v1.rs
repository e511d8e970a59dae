//! Version 1, as containerd's own reading of it (`containerd/cgroups/v3/cgroup1`).

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, MemoryEntry, MemoryOomControl, MemoryStat, Metrics,
    PidsStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;

use super::keyed;

/// Nanoseconds in one of the kernel's clock ticks, which are 100 a second in every ABI of Linux.
const NANOS_PER_TICK: u64 = 10_000_000;

/// The text of a file of a controller's group.
type File<'a> = dyn Fn(&str, &str) -> Option<String> + 'a;

pub(super) fn metrics(file: &File<'_>) -> Metrics {
    Metrics {
        pids: MessageField::some(pids(file)),
        cpu: MessageField::some(cpu(file)),
        memory: MessageField::some(memory(file)),
        blkio: MessageField::some(blkio(file)),
        memory_oom_control: MessageField::some(oom(file)),
        ..Default::default()
    }
}

fn number(file: &File<'_>, controller: &str, name: &str) -> u64 {
    file(controller, name).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn pids(file: &File<'_>) -> PidsStat {
    // "max" is no number: without a limit it is zero.
    PidsStat {
        current: number(file, "pids", "pids.current"),
        limit: number(file, "pids", "pids.max"),
        ..Default::default()
    }
}

fn cpu(file: &File<'_>) -> CPUStat {
    let times = file("cpuacct", "cpuacct.stat").unwrap_or_default();
    let per_cpu = file("cpuacct", "cpuacct.usage_percpu").unwrap_or_default();
    let usage = CPUUsage {
        total: number(file, "cpuacct", "cpuacct.usage"),
        user: keyed(&times, "user") * NANOS_PER_TICK,
        kernel: keyed(&times, "system") * NANOS_PER_TICK,
        per_cpu: per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
        ..Default::default()
    };
    let stat = file("cpu", "cpu.stat").unwrap_or_default();
    let throttling = Throttle {
        periods: keyed(&stat, "nr_periods"),
        throttled_periods: keyed(&stat, "nr_throttled"),
        throttled_time: keyed(&stat, "throttled_time"),
        ..Default::default()
    };
    CPUStat {
        usage: MessageField::some(usage),
        throttling: MessageField::some(throttling),
        ..Default::default()
    }
}

fn memory(file: &File<'_>) -> MemoryStat {
    let stat = file("memory", "memory.stat").unwrap_or_default();
    let of = |key: &str| keyed(&stat, key);
    MemoryStat {
        cache: of("cache"),
        rss: of("rss"),
        rss_huge: of("rss_huge"),
        mapped_file: of("mapped_file"),
        dirty: of("dirty"),
        writeback: of("writeback"),
        pg_pg_in: of("pgpgin"),
        pg_pg_out: of("pgpgout"),
        pg_fault: of("pgfault"),
        pg_maj_fault: of("pgmajfault"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        hierarchical_memory_limit: of("hierarchical_memory_limit"),
        hierarchical_swap_limit: of("hierarchical_memsw_limit"),
        total_cache: of("total_cache"),
        total_rss: of("total_rss"),
        total_rss_huge: of("total_rss_huge"),
        total_mapped_file: of("total_mapped_file"),
        total_dirty: of("total_dirty"),
        total_writeback: of("total_writeback"),
        total_pg_pg_in: of("total_pgpgin"),
        total_pg_pg_out: of("total_pgpgout"),
        total_pg_fault: of("total_pgfault"),
        total_pg_maj_fault: of("total_pgmajfault"),
        total_inactive_anon: of("total_inactive_anon"),
        total_active_anon: of("total_active_anon"),
        total_inactive_file: of("total_inactive_file"),
        total_active_file: of("total_active_file"),
        total_unevictable: of("total_unevictable"),
        usage: entry(file, "memory"),
        // Memory and swap together; absent where swap is not accounted.
        swap: entry(file, "memory.memsw"),
        kernel: entry(file, "memory.kmem"),
        kernel_tcp: entry(file, "memory.kmem.tcp"),
        ..Default::default()
    }
}

fn entry(file: &File<'_>, prefix: &str) -> MessageField<MemoryEntry> {
    let of = |name: &str| number(file, "memory", &format!("{prefix}.{name}"));
    MessageField::some(MemoryEntry {
        limit: of("limit_in_bytes"),
        usage: of("usage_in_bytes"),
        max: of("max_usage_in_bytes"),
        failcnt: of("failcnt"),
        ..Default::default()
    })
}

fn oom(file: &File<'_>) -> MemoryOomControl {
    let text = file("memory", "memory.oom_control").unwrap_or_default();
    MemoryOomControl {
        oom_kill_disable: keyed(&text, "oom_kill_disable"),
        under_oom: keyed(&text, "under_oom"),
        oom_kill: keyed(&text, "oom_kill"),
        ..Default::default()
    }
}

fn blkio(file: &File<'_>) -> BlkIOStat {
    let of = |name: &str| entries(&file("blkio", name).unwrap_or_default());
    // As containerd's: the proportional scheduler's numbers where it keeps them, the throttle's
    // otherwise.
    let either = |ours: &str, throttle: &str| {
        let entries = of(ours);
        if entries.is_empty() { of(throttle) } else { entries }
    };
    BlkIOStat {
        io_service_bytes_recursive: either(
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ),
        io_serviced_recursive: either(
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_serviced",
        ),
        ..Default::default()
    }
}

/// Lines of `MAJOR:MINOR Operation value`; the last line is a sum over all.
fn entries(text: &str) -> Vec<BlkIOEntry> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = words.next()?.split_once(':')?;
            Some(BlkIOEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: words.next()?.to_owned(),
                value: words.next()?.parse().ok()?,
                ..Default::default()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(_controller: &str, name: &str) -> Option<String> {
        let text = match name {
            "cpuacct.usage" => "123456789\n",
            "cpuacct.stat" => "user 7\nsystem 5\n",
            "cpuacct.usage_percpu" => "100000000 23456789 \n",
            "cpu.stat" => "nr_periods 3\nnr_throttled 2\nthrottled_time 99\n",
            "memory.usage_in_bytes" => "4096\n",
            "memory.limit_in_bytes" => "9223372036854771712\n",
            "memory.stat" => "cache 10\nrss 20\ntotal_inactive_file 30\n",
            "memory.oom_control" => "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            "pids.current" => "4\n",
            "pids.max" => "max\n",
            "blkio.throttle.io_service_bytes" => "8:0 Read 512\n8:0 Write 1024\nTotal 1536\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    #[test]
    fn times_are_nanoseconds_and_no_limit_is_zero() {
        let metrics = metrics(&file);
        let usage = &metrics.cpu.usage;
        assert_eq!((usage.total, usage.user, usage.kernel), (123_456_789, 70_000_000, 50_000_000));
        assert_eq!(usage.per_cpu, [100_000_000, 23_456_789]);
        assert_eq!(metrics.cpu.throttling.throttled_time, 99);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (4, 0));
        assert_eq!(metrics.memory.usage.usage, 4096);
        assert_eq!(metrics.memory.total_inactive_file, 30);
        assert_eq!(metrics.memory_oom_control.oom_kill, 1);
        let io = &metrics.blkio.io_service_bytes_recursive;
        assert_eq!(io.len(), 2);
        assert_eq!((io[1].op.as_str(), io[1].value), ("Write", 1024));
    }
}
