//! What a container uses, in the type containerd expects of this node.
//!
//! containerd tells the cgroup version by the type of the answer, and one answer of the wrong type
//! fails the statistics of the whole node (containerd 2.x, `internal/cri/server/container_stats_list.go`
//! `toContainerStats`). Numbers are read from the groups' own files, not through a pid: a container
//! has them until it is deleted, also when its process is gone.
//!
//! Version 2 is read by `containerd-shim`, which does it well; its version 1 reads the CPU times
//! from files that version 1 does not have, so that is here.

mod v1;
mod v2;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use wherry_sandbox::cgroup::Cgroup;

/// Reads everything there is to know at this moment. What a group does not have stays zero.
pub(crate) fn read(cgroup: &Cgroup) -> Result<Any, String> {
    if cgroup.is_v2() {
        return Ok(any("io.containerd.cgroups.v2.Metrics", &v2::read(cgroup)?));
    }
    let file = |controller: &str, name: &str| {
        let folder = cgroup.folder(controller)?;
        std::fs::read_to_string(folder.join(name)).ok()
    };
    Ok(any("io.containerd.cgroups.v1.Metrics", &v1::metrics(&file)))
}

fn any(type_url: &str, metrics: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        // Writing to memory fails only for messages of over 2 GiB.
        value: metrics.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    }
}

/// The value of `key` in a file of lines `key value`.
fn keyed(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find(|(name, _)| *name == key).map(|(_, value)| value);
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
