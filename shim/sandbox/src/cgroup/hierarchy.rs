//! Which cgroup hierarchies this node has, and where.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use super::Folder;
use crate::error::Doing;
use crate::{Error, Result, mountinfo};

/// Where systemd and everyone else mounts cgroups.
const ROOT: &str = "/sys/fs/cgroup";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// One v2 hierarchy with all controllers.
    Unified(PathBuf),
    /// v1: one for each set of controllers; a v2 hierarchy beside them has none and is left alone.
    Legacy(Vec<Hierarchy>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// As in the mount's options: `cpu`, `cpuacct`, `name=systemd`.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
}

impl Hierarchies {
    /// Looked up once in the life of this process: nobody remounts cgroups.
    pub fn of_this_node() -> Result<&'static Hierarchies> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let found = find()?;
        Ok(FOUND.get_or_init(|| found))
    }

    /// The group `path` (absolute below the root of each hierarchy) in all of them.
    pub(super) fn folders(&self, path: &Path) -> Result<Vec<Folder>> {
        let inside = below_root(path)?;
        Ok(match self {
            Hierarchies::Unified(root) => {
                vec![Folder { controllers: Vec::new(), path: root.join(inside) }]
            }
            Hierarchies::Legacy(all) => all
                .iter()
                .map(|h| Folder { controllers: h.controllers.clone(), path: h.mount.join(&inside) })
                .collect(),
        })
    }
}

impl Hierarchies {
    /// The groups that a `/proc/<pid>/cgroup` names (cgroups(7)): lines of
    /// `hierarchy-ID:controller-list:path`, without controllers for v2.
    pub(super) fn folders_in(&self, table: &str) -> Vec<Folder> {
        let fields = |line: &'_ str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers: Vec<String> =
                fields.next()?.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
            let inside = below_root(Path::new(fields.next()?)).ok()?;
            let mount = match self {
                Hierarchies::Unified(root) => controllers.is_empty().then_some(root)?,
                Hierarchies::Legacy(all) => {
                    let same =
                        |h: &&Hierarchy| h.controllers.iter().any(|c| controllers.contains(c));
                    &all.iter().find(same)?.mount
                }
            };
            Some(Folder { controllers, path: mount.join(inside) })
        };
        table.lines().filter_map(fields).collect()
    }
}

/// What [`Folder::controllers`] says of the v2 hierarchy beside those of v1: not a controller's
/// name, and not none.
pub(super) const BESIDE: &str = "unified";

impl Hierarchies {
    /// On a "hybrid" node systemd watches its units in a v2 hierarchy without controllers, and ends
    /// a scope whose group there is empty, whatever v1 says.
    pub(super) fn watched_by_systemd(&self, path: &Path) -> Option<Folder> {
        self.beside(path).filter(|folder| folder.path.exists())
    }

    /// The group in the v2 hierarchy of a hybrid node.
    pub(super) fn beside(&self, path: &Path) -> Option<Folder> {
        let (Hierarchies::Legacy(_), Ok(inside)) = (self, below_root(path)) else { return None };
        let root = Path::new(ROOT).join(BESIDE);
        let is_v2 = rustix::fs::statfs(&root).is_ok_and(|s| s.f_type as u64 == CGROUP2_MAGIC);
        is_v2.then(|| Folder { controllers: vec![BESIDE.to_owned()], path: root.join(inside) })
    }
}

/// The path without its leading slash; one that leaves the hierarchy, or is its root, is refused.
fn below_root(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                inside.clear();
                break;
            }
        }
    }
    if inside.as_os_str().is_empty() {
        return Err(Error::Refused(format!(
            "linux.cgroupsPath {} names no group below the root: give an absolute path without ..",
            path.display()
        )));
    }
    Ok(inside)
}

fn find() -> Result<Hierarchies> {
    let root = rustix::fs::statfs(ROOT).doing(|| format!("looking at {ROOT}"))?;
    // As runc's `IsCgroup2UnifiedMode`: decided by what is mounted there, without reading a table
    // that has thousands of lines on a busy node.
    if root.f_type as u64 == CGROUP2_MAGIC {
        return Ok(Hierarchies::Unified(ROOT.into()));
    }
    let read = |path: &str| std::fs::read_to_string(path).doing(|| format!("reading {path}"));
    let usual = |name: &str| {
        let path = Path::new(ROOT).join(name);
        rustix::fs::statfs(&path).is_ok_and(|s| s.f_type as u64 == CGROUP_MAGIC).then_some(path)
    };
    let found = match usual_places(&read("/proc/self/cgroup")?, usual) {
        Some(found) => found,
        None => legacy(&read("/proc/self/mountinfo")?),
    };
    if found.is_empty() {
        return Err(Error::Refused(format!(
            "this node has no cgroups: mount cgroup2 on {ROOT}, or the v1 controllers below it"
        )));
    }
    Ok(Hierarchies::Legacy(found))
}

const CGROUP2_MAGIC: u64 = 0x6367_7270;
const CGROUP_MAGIC: u64 = 0x0027_e0eb;

/// Where systemd, Docker and everyone else mounts v1 hierarchies: below [`ROOT`], by the names of their
/// controllers or, in the case of systemd's, their own. `None` if one of those that `table`, a
/// `/proc/<pid>/cgroup`, names is not there.
fn usual_places(table: &str, at: impl Fn(&str) -> Option<PathBuf>) -> Option<Vec<Hierarchy>> {
    let listed = table.lines().filter_map(|line| line.split(':').nth(1));
    let found = listed.filter(|list| !list.is_empty()).map(|list| {
        let mount = at(list.strip_prefix("name=").unwrap_or(list))?;
        Some(Hierarchy { controllers: list.split(',').map(str::to_owned).collect(), mount })
    });
    found.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}

/// v1 hierarchies elsewhere, by the controllers in the super block's options, never by the name of the mount
/// point: `/sys/devices` is no hierarchy, and neither is a bind mount somewhere else first.
fn legacy(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mountinfo::parse(mountinfo).filter(|mount| mount.kind == "cgroup") {
        let options = mount.of_file_system.split(',');
        let controllers: Vec<String> =
            options.filter(|o| is_controller(o)).map(str::to_owned).collect();
        let known = found.iter().any(|h| h.controllers == controllers);
        // proc(5): later lines are mounted over earlier ones, but runc takes the first too, and
        // what comes later is a bind for some container.
        if !controllers.is_empty() && !known {
            found.push(Hierarchy { controllers, mount: mount.point });
        }
    }
    found
}

fn is_controller(option: &str) -> bool {
    const CONTROLLERS: [&str; 14] = [
        "cpuset",
        "cpu",
        "cpuacct",
        "blkio",
        "memory",
        "devices",
        "freezer",
        "net_cls",
        "perf_event",
        "net_prio",
        "hugetlb",
        "pids",
        "rdma",
        "misc",
    ];
    option.starts_with("name=") || CONTROLLERS.contains(&option)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let table = "\
23 1 0:20 / / rw - ext4 /dev/vda rw
24 23 0:21 / /sys/devices rw - sysfs sysfs rw
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/odd\\040name rw - cgroup cgroup rw,devices,release_agent=/x
35 31 0:31 / /var/lib/bind/devices rw - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let found: Vec<_> = legacy(table)
            .iter()
            .map(|h| format!("{} at {}\n", h.controllers.join("+"), h.mount.display()))
            .collect();
        expect![[r#"
            cpu+cpuacct at /sys/fs/cgroup/cpu,cpuacct
            devices at /sys/fs/cgroup/odd name
            name=systemd at /sys/fs/cgroup/systemd
        "#]]
        .assert_eq(&found.concat());
    }

    #[test]
    fn the_usual_places_are_taken_if_all_are_there() {
        let table = "9:name=systemd:/\n4:cpu,cpuacct:/k8s/c1\n3:pids:/\n0::/k8s/c1\n";
        let all = usual_places(table, |name| Some(Path::new("/cg").join(name))).unwrap();
        let told =
            |h: &Hierarchy| format!("{} at {}\n", h.controllers.join("+"), h.mount.display());
        expect![[r#"
            name=systemd at /cg/systemd
            cpu+cpuacct at /cg/cpu,cpuacct
            pids at /cg/pids
        "#]]
        .assert_eq(&all.iter().map(told).collect::<String>());
        let without_pids = |name: &str| (name != "pids").then(|| name.into());
        assert_eq!(usual_places(table, without_pids), None);
        assert_eq!(usual_places("0::/\n", |name| Some(name.into())), None);
    }

    #[test]
    fn groups_of_a_process_are_found() {
        let table = "9:memory:/k8s/c1\n4:cpu,cpuacct:/k8s/c1\n3:pids:/\n0::/k8s/c1\n";
        let found = |hierarchies: Hierarchies| {
            let folders = hierarchies.folders_in(table);
            let all = folders.iter().map(|f| format!("{:?} {}\n", f.controllers, f.path.display()));
            all.collect::<String>()
        };
        let named = |names: &[&str]| Hierarchy {
            controllers: names.iter().map(|n| n.to_string()).collect(),
            mount: Path::new("/cg").join(names.join(",")),
        };
        expect![[r#"
            ["memory"] /cg/memory/k8s/c1
            ["cpu", "cpuacct"] /cg/cpu,cpuacct/k8s/c1
        "#]]
        .assert_eq(&found(Hierarchies::Legacy(vec![
            named(&["cpu", "cpuacct"]),
            named(&["memory"]),
            named(&["pids"]),
        ])));
        expect![[r#"
            [] /cg2/k8s/c1
        "#]]
        .assert_eq(&found(Hierarchies::Unified("/cg2".into())));
    }

    #[test]
    fn a_path_never_names_the_root_of_a_hierarchy() {
        for path in ["/", "", "/..", "/a/../.."] {
            assert!(below_root(Path::new(path)).is_err(), "{path}");
        }
        assert_eq!(below_root(Path::new("/default/./c1")).unwrap(), Path::new("default/c1"));
    }
}
