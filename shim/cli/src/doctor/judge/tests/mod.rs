//! A node on which all is well, and what each thing that is wrong with it is called.

mod daemon;
mod files;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use wherry_containerd::RUNTIME;

use super::judge;
use crate::doctor::containerd::{Config, Cri, Handler};
use crate::doctor::facts::*;
use crate::doctor::report;

fn node() -> Facts {
    Facts {
        version: "0.1.0".into(),
        kernel: Kernel {
            release: "6.12.1-amd64".into(),
            landlock: 6,
            seccomp: ["kill_process", "errno", "allow"].map(str::to_owned).to_vec(),
            user_namespaces: Some(15_000),
            overlayfs: Overlayfs::Ready,
        },
        cgroups: Cgroups::V2(["cpu", "memory", "pids"].map(str::to_owned).to_vec()),
        containerd: Search::Found(Box::new(containerd())),
        installed: BTreeMap::from([("wherry".to_owned(), installed())]),
        runc: Some("/usr/bin/runc".into()),
        caches: vec![Cache {
            dir: "/var/lib/wherry/cache".into(),
            max_bytes: 4 << 30,
            state: CacheState::Seen { entries: 3, bytes: 5 << 20, damaged: Vec::new() },
            room: Some(Room { read_only: false, bytes: Some(9 << 30), inodes: Some(1 << 20) }),
        }],
        leftovers: Leftovers::default(),
    }
}

fn containerd() -> Containerd {
    let handlers = BTreeMap::from([("runc".to_owned(), runc()), ("wherry".to_owned(), handler())]);
    Containerd {
        pid: Some(700),
        program: "/usr/bin/containerd".into(),
        replaced: false,
        address: "/run/containerd/containerd.sock".into(),
        version: "2.4.2".into(),
        config_file: "/etc/containerd/config.toml".into(),
        section_file: "/etc/containerd/config.toml".into(),
        names_handlers: true,
        imports: vec!["/etc/containerd/conf.d/*.toml".into()],
        file_version: Some(3),
        config: Ok(Config {
            state: "/run/containerd".into(),
            address: "/run/containerd/containerd.sock".into(),
            socket_dir: None,
            cri: Some(Cri {
                plugin: "io.containerd.cri.v1.runtime".into(),
                default_handler: "runc".into(),
                handlers: handlers.clone(),
            }),
        }),
        complaints: Vec::new(),
        changed: Vec::new(),
        path: vec!["/usr/local/bin".into(), "/usr/bin".into()],
        answers: Answers::Cri(CriStatus { ready: true, reason: String::new(), handlers }),
    }
}

fn handler() -> Handler {
    Handler {
        runtime_type: RUNTIME.into(),
        annotations: vec!["wherry.dev/*".into()],
        ..Handler::default()
    }
}

fn runc() -> Handler {
    let options = toml::toml! { SystemdCgroup = true };
    Handler { runtime_type: "io.containerd.runc.v2".into(), options, ..Handler::default() }
}

fn installed() -> Installed {
    let names = ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wasmbox.wasm"];
    let program = |name: &str| (name.to_owned(), Program::Version("0.1.0".into()));
    Installed {
        shim: Some("/usr/local/bin/containerd-shim-wherry-v1".into()),
        programs: names.map(program).to_vec(),
    }
}

/// What the doctor says besides what is well.
fn check(edit: impl FnOnce(&mut Facts), expected: Expect) {
    let mut facts = node();
    edit(&mut facts);
    let told = report::text(&judge(&facts));
    let mut is_ok = false;
    let wrong: Vec<&str> = told
        .lines()
        .filter(|line| {
            is_ok = line.starts_with("ok ") || (is_ok && line.starts_with(' '));
            !is_ok
        })
        .collect();
    expected.assert_eq(&format!("{}\n", wrong.join("\n")));
}

#[test]
fn all_is_well() {
    expect![[r#"
        ok    kernel.version          Linux 6.12.1-amd64
        ok    kernel.landlock         Landlock of version 6
        ok    kernel.seccomp          seccomp filters
        ok    kernel.user-namespaces  user namespaces
        ok    kernel.overlayfs        overlayfs
        ok    cgroups                 version 2 with cpu, memory, pids
        ok    containerd.running      /usr/bin/containerd, process 700
        ok    containerd.version      containerd 2.4.2
        ok    containerd.config       /etc/containerd/config.toml, imports /etc/containerd/conf.d/*.toml
        ok    handler                 wherry is io.containerd.wherry.v1
        ok    handler.loaded          containerd has loaded wherry
        ok    programs                version 0.1.0 in /usr/local/bin of the handler wherry
        ok    runc                    /usr/bin/runc for native containers
        ok    cache                   /var/lib/wherry/cache: 3 sound, 5.0 MiB of 4.0 GiB
        ok    leftovers               nothing is left of containers that are gone
        all is well
    "#]].assert_eq(&report::text(&judge(&node())));
}

#[test]
fn kernels_that_lack_something() {
    check(
        |facts| facts.kernel.release = "5.4.0".into(),
        expect![[r#"
        fail  kernel.version          Linux 5.4.0 is too old
                                      → use Linux 5.12 or newer: sandboxes need mount_setattr(2)
        1 failed
    "#]],
    );
    check(
        |facts| facts.kernel.landlock = 0,
        expect![[r#"
        warn  kernel.landlock         no Landlock: guests are confined by namespaces, capabilities and seccomp alone
                                      → use Linux 5.19 or newer, built with CONFIG_SECURITY_LANDLOCK and with landlock in the list of /sys/kernel/security/lsm (kernel parameter lsm=landlock,…)
        nothing failed, 1 to look at
    "#]],
    );
    check(
        |facts| facts.kernel.landlock = 1,
        expect![[r#"
        warn  kernel.landlock         Landlock of version 1 is too old to be used for guests
                                      → use Linux 5.19 or newer, built with CONFIG_SECURITY_LANDLOCK and with landlock in the list of /sys/kernel/security/lsm (kernel parameter lsm=landlock,…)
        nothing failed, 1 to look at
    "#]],
    );
    check(
        |facts| facts.kernel.seccomp.clear(),
        expect![[r#"
        fail  kernel.seccomp          no seccomp filters: no guest is run without one
                                      → use a kernel built with CONFIG_SECCOMP_FILTER
        1 failed
    "#]],
    );
    check(
        |facts| facts.kernel.user_namespaces = Some(0),
        expect![[r#"
        warn  kernel.user-namespaces  user namespaces are turned off: pods with hostUsers: false do not start
                                      → sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d
        nothing failed, 1 to look at
    "#]],
    );
    check(
        |facts| facts.kernel.user_namespaces = None,
        expect![[r#"
        warn  kernel.user-namespaces  no user namespaces: pods with hostUsers: false do not start
                                      → use a kernel built with CONFIG_USER_NS
        nothing failed, 1 to look at
    "#]],
    );
    check(
        |facts| facts.kernel.overlayfs = Overlayfs::Missing,
        expect![[r#"
        warn  kernel.overlayfs        no overlayfs, which containerd's usual snapshotter needs
                                      → modprobe overlay, or configure another snapshotter
        nothing failed, 1 to look at
    "#]],
    );
    check(
        |facts| facts.kernel.overlayfs = Overlayfs::Loadable,
        expect![[r#"
        all is well
    "#]],
    );
}

#[test]
fn cgroups_that_lack_something() {
    check(
        |facts| facts.cgroups = Cgroups::V2(vec!["cpu".into()]),
        expect![[r#"
        fail  cgroups                 version 2 without memory, pids: limits of these are refused
                                      → echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control, and no cgroup_disable= for them among the kernel's parameters
        1 failed
    "#]],
    );
    check(
        |facts| facts.cgroups = Cgroups::V1(vec!["cpu".into(), "pids".into()]),
        expect![[r#"
        fail  cgroups                 version 1 without memory: limits of these are refused
                                      → take them out of cgroup_disable= among the kernel's parameters (memory: add cgroup_enable=memory), and mount them
        1 failed
    "#]],
    );
    check(
        |facts| facts.cgroups = Cgroups::Unknown("nothing is mounted".into()),
        expect![[r#"
        fail  cgroups                 no cgroups: nothing is mounted
                                      → mount cgroup2 on /sys/fs/cgroup; systemd does it by itself
        1 failed
    "#]],
    );
}
