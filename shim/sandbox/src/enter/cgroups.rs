//! The container's own cgroups, mounted: `type: cgroup` of either version (runc
//! `mountCgroupV1` and `mountCgroupV2`).

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use wherry_core::plan::{self, Mount, MountFlags};

use super::mount::{attach, mount_on};
use super::root::Root;
use super::{attributes, namespace};
use crate::Result;
use crate::cgroup::{Hierarchies, Hierarchy};
use crate::error::Doing;
use crate::resolve::{Missing, open_in_root, open_or_make};

pub(super) fn mount(mount: &Mount, sandbox: &plan::Sandbox, root: &Root) -> Result<()> {
    let hierarchies = Hierarchies::of_this_node()?;
    let own = std::fs::read_to_string("/proc/self/cgroup")
        .doing(|| "reading /proc/self/cgroup".into())?;
    let namespaced = namespace(sandbox, Kind::Cgroup).is_some();
    match hierarchies {
        Hierarchies::Unified(point) => v2(mount, root, &point.join(own_group(&own, ""))),
        Hierarchies::Legacy(all) => v1(mount, root, all, &own, namespaced),
    }
}

fn v2(mount: &Mount, root: &Root, group: &Path) -> Result<()> {
    let doing = || format!("mounting cgroup2 on mounts {}", mount.destination.display());
    let target = open_or_make(&root.folder, &mount.destination, Missing::Folder)?;
    match mount_on(&target, "cgroup2", "cgroup", mount.flags.set, "") {
        // Not allowed in a user namespace without a cgroup namespace: what it would show is bound.
        Err(Errno::PERM | Errno::BUSY) => bind(group, &target, mount.flags).doing(doing),
        mounted => mounted.doing(doing),
    }
}

fn v1(mount: &Mount, root: &Root, all: &[Hierarchy], own: &str, namespaced: bool) -> Result<()> {
    let to = mount.destination.display();
    let top = open_or_make(&root.folder, &mount.destination, Missing::Folder)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount_on(&top, "tmpfs", "tmpfs", flags, "mode=755")
        .doing(|| format!("mounting a tmpfs on mounts {to}"))?;
    for hierarchy in all {
        let name = folder_name(hierarchy);
        let doing = || format!("mounting the cgroups {name} on mounts {to}");
        let path = mount.destination.join(&name);
        let target = open_or_make(&root.folder, &path, Missing::Folder)?;
        let own = || hierarchy.mount.join(own_group(own, &hierarchy.controllers.join(",")));
        // A namespace makes its own group the root of a new mount.
        let mounted = if namespaced {
            mount_on(&target, "cgroup", "cgroup", mount.flags.set, &options(hierarchy))
        } else {
            bind(&own(), &target, mount.flags)
        };
        mounted.doing(doing)?;
        // cpu,cpuacct is also found as cpu and as cpuacct.
        if hierarchy.controllers.len() > 1 {
            let folder =
                open_in_root(&root.folder, &mount.destination, OFlags::PATH).doing(doing)?;
            for one in &hierarchy.controllers {
                match rustix::fs::symlinkat(&name, &folder, one) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).doing(doing),
                }
            }
        }
    }
    if mount.flags.set & libc::MS_RDONLY != 0 {
        let mounted = open_in_root(&root.folder, &mount.destination, OFlags::PATH);
        let readonly = MountFlags { set: libc::MS_RDONLY, clear: 0 };
        mounted
            .and_then(|fd| attributes::change(&fd, attributes::attr(readonly), false))
            .doing(|| format!("making mounts {to} read-only"))?;
    }
    Ok(())
}

fn bind(group: &Path, target: &rustix::fd::OwnedFd, flags: MountFlags) -> rustix::io::Result<()> {
    let open = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, group, open)?;
    attributes::change(&tree, attributes::attr(flags), false)?;
    attach(&tree, target)
}

/// The name of the node's own mount point, `systemd` for `name=systemd`.
fn folder_name(hierarchy: &Hierarchy) -> String {
    let joined = hierarchy.controllers.join(",");
    joined.strip_prefix("name=").map_or(joined.clone(), str::to_owned)
}

fn options(hierarchy: &Hierarchy) -> String {
    let joined = hierarchy.controllers.join(",");
    if joined.starts_with("name=") { format!("none,{joined}") } else { joined }
}

/// This process' group in a hierarchy, below its mount: a line of `/proc/self/cgroup` is
/// `id:controllers:path`.
fn own_group(table: &str, controllers: &str) -> PathBuf {
    let line = table.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        (names == controllers).then_some(path)
    });
    line.unwrap_or("/").trim_start_matches('/').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_each_hierarchy() {
        let table = "5:cpu,cpuacct:/a/b\n2:name=systemd:/s\n0::/u\n";
        assert_eq!(own_group(table, "cpu,cpuacct"), Path::new("a/b"));
        assert_eq!(own_group(table, "name=systemd"), Path::new("s"));
        assert_eq!(own_group(table, ""), Path::new("u"));
        assert_eq!(own_group(table, "memory"), Path::new(""));
    }
}
