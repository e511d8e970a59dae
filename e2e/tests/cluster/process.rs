//! A pod's processes, as the machine outside sees them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::pod::Pod;

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// `/proc/<pid>/cgroup`.
    cgroups: String,
}

impl Process {
    /// Its group below the root of a hierarchy of version 1, or of the one of version 2.
    pub(crate) fn cgroup(&self, controller: &str) -> Option<PathBuf> {
        self.cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (held, path) = (fields.next()?, fields.next()?);
            let root = match held.split(',').any(|one| one == controller) {
                true => PathBuf::from("/sys/fs/cgroup").join(held),
                false if held.is_empty() && line.starts_with("0::") && v2() => {
                    "/sys/fs/cgroup".into()
                }
                false => return None,
            };
            Some(root.join(path.trim_start_matches('/')))
        })
    }

    /// What a file of its group says, by its name in either version.
    pub(crate) fn cgroup_file(&self, controller: &str, v1: &str, v2_name: &str) -> Result<String> {
        let folder = self.cgroup(controller).context("in no such cgroup")?;
        let file = folder.join(if v2() { v2_name } else { v1 });
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    pub(crate) fn namespace(&self, kind: &str) -> Result<PathBuf> {
        Ok(fs::read_link(format!("/proc/{}/ns/{kind}", self.pid))?)
    }
}

fn v2() -> bool {
    fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()
}

impl Pod<'_> {
    /// All that runs in cgroups of the pod.
    pub(crate) fn processes(&self) -> Result<Vec<Process>> {
        let uid = self.uid()?;
        // In names of slices a dash is a level.
        let names = [uid.replace('-', "_"), uid];
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if names.iter().any(|name| cgroups.contains(name)) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push(Process { pid, name: name.trim().to_string(), cgroups });
            }
        }
        Ok(found)
    }

    /// What the node calls a process.
    pub(crate) fn inside(&self, pid: u32) -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // As this machine counts, then as the node does.
        let number = numbers.and_then(|all| all.split_whitespace().nth(1));
        Ok(number.context("not on a node")?.to_string())
    }

    /// The process of its one container, whose lines can be read before its id stands in the pod.
    pub(crate) fn process(&self) -> Result<Process> {
        let seen = self.until(|pod| container_id(pod).is_some()).context("no id")?;
        let id = container_id(&seen).context("no id")?.trim_start_matches("containerd://");
        let mut found = self.processes()?.into_iter().filter(|one| one.cgroups.contains(id));
        let first = found.next().context("the container has no process")?;
        Ok(first)
    }
}

/// None before kubelet has told of it.
fn container_id(pod: &Value) -> Option<&str> {
    pod["status"]["containerStatuses"][0]["containerID"].as_str()
}
