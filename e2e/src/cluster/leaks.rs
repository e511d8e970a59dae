//! The proof that nothing remains of the pods: on the nodes while they run, and on the machine after their end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Cluster;
use super::node::Node;
use crate::command::until;
use crate::leaks::unfinished;

/// How long kubelet may take to clear away the last pod: sandboxes of pods that are gone are removed once a minute
/// (`containerGCPeriod` of pkg/kubelet/kubelet.go).
const SETTLE: Duration = Duration::from_secs(90);
/// Programs that are there for containers only.
const OF_CONTAINERS: [&str; 5] =
    ["containerd-shim", "wherry-guest", "wherry", "runc", "wherry-pause"];

/// Asks until nothing of a pod is left or time is up; then ends everything and asks the machine.
pub fn after(cluster: &Cluster) -> Result<()> {
    let mut left = Vec::new();
    let clean = until(SETTLE, || {
        left = cluster.nodes.iter().flat_map(of_pods).collect();
        left.is_empty()
    });
    cluster.stop()?;
    if !clean {
        bail!("{}", left.join("\n  "));
    }
    let after = until(Duration::from_secs(5), || {
        left = crate::leaks::cgroups(&cluster.place.tag)
            .into_iter()
            .map(|at| format!("cgroup {}", at.display()))
            .collect();
        left.extend(cluster.place.daemons().into_iter().map(|pid| format!("process {pid}")));
        left.is_empty()
    });
    if !after {
        bail!("after the cluster's end: {}", left.join("\n  "));
    }
    Ok(())
}

/// What a node has of pods.
fn of_pods(node: &Node) -> Vec<String> {
    let mut left = Vec::new();
    // Containers without a task are kubelet's records, which it keeps for a while.
    match node.ask(&["ctr", "-n", "k8s.io", "tasks", "list", "-q"]) {
        Ok(ids) => left.extend(ids.lines().map(|id| format!("task {id}"))),
        Err(error) => left.push(format!("{error:#}")),
    }
    left.extend(processes(node));
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", node.leader())).unwrap_or_default();
    let of_pods =
        ["/run/containerd/io.containerd", "/var/lib/kubelet/pods/", "/run/netns/", "/run/wherry"];
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    left.extend(
        places
            .filter(|at| of_pods.iter().any(|of| at.starts_with(of)))
            .map(|at| format!("mount {at}")),
    );
    for folder in ["/run/containerd/s", "/run/containerd/io.containerd.runtime.v2.task/k8s.io"] {
        left.extend(files(&node.path(folder)).into_iter().map(|name| format!("{folder}/{name}")));
    }
    left.extend(unfinished(vec![node.folder.join("wherry"), node.path("/run/wherry")]));
    left.extend(node.pod_cgroups().into_iter().map(|at| format!("cgroup {}", at.display())));
    left.into_iter().map(|one| format!("node {}: {one}", node.name())).collect()
}

fn processes(node: &Node) -> Vec<String> {
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid_for_children")).ok();
    let ours = space(&node.leader().to_string());
    let mut left = Vec::new();
    for pid in files(Path::new("/proc")).into_iter().filter(|pid| pid.parse::<u32>().is_ok()) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let of_container = OF_CONTAINERS.iter().any(|one| name.starts_with(one));
        if of_container && ours.is_some() && space(&pid) == ours {
            left.push(format!("process {pid} {}", name.trim()));
        }
    }
    left
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
