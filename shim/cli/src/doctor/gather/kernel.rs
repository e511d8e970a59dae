//! What the kernel has.

use wherry_sandbox::cgroup::Hierarchies;

use crate::doctor::facts::{Cgroups, Kernel, Overlayfs};

pub(super) fn kernel() -> Kernel {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let actions = read("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Kernel {
        landlock: wherry_sandbox::landlock_version(),
        seccomp: actions.split_whitespace().map(str::to_owned).collect(),
        user_namespaces: read("/proc/sys/user/max_user_namespaces")
            .and_then(|number| number.trim().parse().ok()),
        overlayfs: overlayfs(&release),
        release,
    }
}

fn overlayfs(release: &str) -> Overlayfs {
    let holds = |path: &str, word: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line.contains(word))
    };
    if holds("/proc/filesystems", "\toverlay") {
        return Overlayfs::Ready;
    }
    let modules = ["modules.dep", "modules.builtin"];
    let listed = |file: &&str| holds(&format!("/lib/modules/{release}/{file}"), "/overlay.ko");
    if modules.iter().any(listed) { Overlayfs::Loadable } else { Overlayfs::Missing }
}

pub(super) fn cgroups() -> Cgroups {
    let hierarchies = match Hierarchies::of_this_node() {
        Ok(hierarchies) => hierarchies,
        Err(error) => return Cgroups::Unknown(error.to_string()),
    };
    match hierarchies {
        Hierarchies::Unified(root) => {
            let text = std::fs::read_to_string(root.join("cgroup.controllers"));
            Cgroups::V2(text.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
        }
        Hierarchies::Legacy(all) => {
            let names = all.iter().flat_map(|one| &one.controllers);
            let mut names: Vec<String> =
                names.filter(|name| !name.starts_with("name=")).cloned().collect();
            names.sort();
            match std::fs::exists("/sys/fs/cgroup/unified/cgroup.procs") {
                Ok(true) => Cgroups::Hybrid(names),
                _ => Cgroups::V1(names),
            }
        }
    }
}
