//! Limits: what `Update` is given, and what then stands in the files of the task's cgroup.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

/// OCI resources by the name of what they limit.
pub(crate) fn resources(name: &str) -> Vec<u8> {
    let value = match name {
        "memory" => json!({ "memory": { "limit": 67_108_864 } }),
        "cpu quota" => json!({ "cpu": { "quota": 50_000, "period": 100_000 } }),
        "cpu shares" => json!({ "cpu": { "shares": 512 } }),
        "cpuset" => json!({ "cpu": { "cpus": "0" } }),
        "pids" => json!({ "pids": { "limit": 99 } }),
        "nothing" => json!({}),
        _ => return b"{".to_vec(),
    };
    value.to_string().into_bytes()
}

/// The limit that the kernel has for a process, as version 1 or as version 2 writes it.
pub(crate) fn limit(pid: u32, name: &str) -> String {
    let (controller, v1, v2) = match name {
        "memory" => ("memory", "memory.limit_in_bytes", "memory.max"),
        "cpu quota" => ("cpu", "cpu.cfs_quota_us", "cpu.max"),
        "cpu shares" => ("cpu", "cpu.shares", "cpu.weight"),
        "cpuset" => ("cpuset", "cpuset.cpus", "cpuset.cpus"),
        "pids" => ("pids", "pids.max", "pids.max"),
        other => return format!("{other} is no limit"),
    };
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    for line in table.unwrap_or_default().lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let at = |hierarchy: &str, file: &str| {
            PathBuf::from(format!("/sys/fs/cgroup/{hierarchy}{path}/{file}"))
        };
        let file = match controllers {
            "" => at("", v2),
            some if some.split(',').any(|one| one == controller) => at(controller, v1),
            _ => continue,
        };
        if let Ok(text) = fs::read_to_string(file) {
            // Version 2 has quota and period in one, and weights instead of shares: runc's
            // `ConvertCPUSharesToCgroupV2Value`, which makes 100 of the default of 1024.
            return match (name, text.split_whitespace().next().unwrap_or_default()) {
                ("cpu shares", "59") => "512".into(),
                (_, first) => first.to_string(),
            };
        }
    }
    "no such file".into()
}
