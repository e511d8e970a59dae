//! Version 2: `containerd-shim`'s reading, and the input and output that it leaves out.

use std::path::Path;

use cgroups_rs::fs::{Cgroup as Group, hierarchies};
use containerd_shim_protos::cgroups_v2::metrics::{IOEntry, IOStat, Metrics};
use containerd_shim_protos::protobuf::MessageField;
use wherry_sandbox::cgroup::Cgroup;

pub(super) fn read(cgroup: &Cgroup) -> Result<Metrics, String> {
    let folder = cgroup.folder("").ok_or("the container has no cgroup")?;
    let hierarchy = hierarchies::auto();
    let path = folder.strip_prefix(hierarchy.root()).unwrap_or(Path::new("/"));
    let group = Group::load(hierarchy, path);
    let mut metrics =
        containerd_shim::cgroup::collect_metrics_v2(&group).map_err(|error| error.to_string())?;
    let io = std::fs::read_to_string(folder.join("io.stat")).unwrap_or_default();
    metrics.io = MessageField::some(io_stat(&io));
    Ok(metrics)
}

/// Lines of `MAJOR:MINOR key=value …` (cgroup-v2.rst, "IO Interface Files").
fn io_stat(text: &str) -> IOStat {
    IOStat { usage: text.lines().filter_map(io_entry).collect(), ..Default::default() }
}

fn io_entry(line: &str) -> Option<IOEntry> {
    let (device, rest) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    let mut entry =
        IOEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, ..Default::default() };
    for (key, value) in rest.split(' ').filter_map(|pair| pair.split_once('=')) {
        let value = value.parse().unwrap_or(0);
        match key {
            "rbytes" => entry.rbytes = value,
            "wbytes" => entry.wbytes = value,
            "rios" => entry.rios = value,
            "wios" => entry.wios = value,
            // Discards have no field.
            _ => {}
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_line() {
        let stat =
            io_stat("8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0\n8:0 \n");
        assert_eq!(stat.usage.len(), 2);
        let first = &stat.usage[0];
        let numbers =
            [first.major, first.minor, first.rbytes, first.wbytes, first.rios, first.wios];
        assert_eq!(numbers, [8, 16, 1_459_200, 314_773_504, 192, 353]);
        assert_eq!(stat.usage[1].rbytes, 0);
    }
}
