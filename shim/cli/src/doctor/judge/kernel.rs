//! The kernel, and how it is set up.

use super::{Finding, list};
use crate::doctor::facts::{Cgroups, Kernel, Overlayfs};

/// The first with `mount_setattr(2)`, by which every sandbox is made.
const OLDEST: (u32, u32) = (5, 12);

/// The first version of Landlock under which files can be moved between folders, which a container must be able to.
const LANDLOCK: i64 = 2;

/// Without these limits mean nothing.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub(super) fn judge(kernel: &Kernel, cgroups: &Cgroups) -> Vec<Finding> {
    vec![
        version(&kernel.release),
        landlock(kernel.landlock),
        seccomp(&kernel.seccomp),
        user_namespaces(kernel.user_namespaces),
        overlayfs(kernel.overlayfs),
        groups(cgroups),
    ]
}

/// Major and minor.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn version(told: &str) -> Finding {
    let what = format!("Linux {told}");
    match release(told) {
        Some(known) if known < OLDEST => Finding::fail(
            "kernel.version",
            format!("{what} is too old"),
            format!(
                "use Linux {}.{} or newer: sandboxes need mount_setattr(2)",
                OLDEST.0, OLDEST.1
            ),
        ),
        Some(_) => Finding::ok("kernel.version", what),
        None => Finding::warn("kernel.version", format!("{what}, which tells no version"), ""),
    }
}

fn landlock(version: i64) -> Finding {
    if version >= LANDLOCK {
        return Finding::ok("kernel.landlock", format!("Landlock of version {version}"));
    }
    let what = match version {
        ..1 => {
            "no Landlock: guests are confined by namespaces, capabilities and seccomp alone".into()
        }
        _ => format!("Landlock of version {version} is too old to be used for guests"),
    };
    let todo = "use Linux 5.19 or newer, built with CONFIG_SECURITY_LANDLOCK and with landlock in the list of \
                /sys/kernel/security/lsm (kernel parameter lsm=landlock,…)";
    Finding::warn("kernel.landlock", what, todo)
}

fn seccomp(actions: &[String]) -> Finding {
    let needed = ["kill_process", "errno", "allow"];
    match needed.iter().all(|one| actions.iter().any(|action| action == one)) {
        true => Finding::ok("kernel.seccomp", "seccomp filters"),
        false => Finding::fail(
            "kernel.seccomp",
            "no seccomp filters: no guest is run without one",
            "use a kernel built with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn user_namespaces(most: Option<u64>) -> Finding {
    match most {
        Some(1..) => Finding::ok("kernel.user-namespaces", "user namespaces"),
        Some(0) => Finding::warn(
            "kernel.user-namespaces",
            "user namespaces are turned off: pods with hostUsers: false do not start",
            "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d",
        ),
        None => Finding::warn(
            "kernel.user-namespaces",
            "no user namespaces: pods with hostUsers: false do not start",
            "use a kernel built with CONFIG_USER_NS",
        ),
    }
}

fn overlayfs(state: Overlayfs) -> Finding {
    match state {
        Overlayfs::Ready => Finding::ok("kernel.overlayfs", "overlayfs"),
        Overlayfs::Loadable => {
            Finding::ok("kernel.overlayfs", "overlayfs, a module that is loaded when wanted")
        }
        Overlayfs::Missing => Finding::warn(
            "kernel.overlayfs",
            "no overlayfs, which containerd's usual snapshotter needs",
            "modprobe overlay, or configure another snapshotter",
        ),
    }
}

fn groups(cgroups: &Cgroups) -> Finding {
    let (kind, controllers) = match cgroups {
        Cgroups::V2(controllers) => ("version 2", controllers),
        Cgroups::V1(controllers) => ("version 1", controllers),
        Cgroups::Hybrid(controllers) => ("version 1 (hybrid)", controllers),
        Cgroups::Unknown(why) => {
            return Finding::fail(
                "cgroups",
                format!("no cgroups: {why}"),
                "mount cgroup2 on /sys/fs/cgroup; systemd does it by itself",
            );
        }
    };
    let has = |name: &&&str| controllers.iter().any(|controller| controller == **name);
    let missing: Vec<&str> = CONTROLLERS.iter().filter(|name| !has(name)).copied().collect();
    if missing.is_empty() {
        return Finding::ok("cgroups", format!("{kind} with {}", list(controllers)));
    }
    let what = format!("{kind} without {}: limits of these are refused", list(&missing));
    let todo = match cgroups {
        Cgroups::V2(_) => format!(
            "echo {} > /sys/fs/cgroup/cgroup.subtree_control, and no cgroup_disable= for them among the kernel's \
             parameters",
            missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
        ),
        _ => "take them out of cgroup_disable= among the kernel's parameters (memory: add \
              cgroup_enable=memory), and mount them"
            .into(),
    };
    Finding::fail("cgroups", what, todo)
}
