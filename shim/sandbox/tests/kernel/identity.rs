//! Who a guest is and what is left of root.

use expect_test::expect;
use wherry_core::plan::Rlimit;

use crate::rig::Rig;

#[test]
fn user_groups_umask_limits_and_folder_are_set() {
    let mut rig = Rig::new();
    rig.sandbox.user.uid = 1000;
    rig.sandbox.user.gid = 1001;
    rig.sandbox.user.additional_gids = vec![5, 6];
    rig.sandbox.user.umask = Some(0o027);
    rig.sandbox.cwd = "/data/deep".into();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(rig.file("tmp"), open).unwrap();
    expect![[r#"
        id: 1000 1000 1001 1001 [5, 6]
        create /tmp/new: created
        stat /tmp/new: file 640 1000:1001 0:0
        limit: Some(1024) Some(1024)
        cwd: /data/deep
    "#]]
    .assert_eq(&rig.run(&["id", "create /tmp/new", "stat /tmp/new", "limit", "cwd"]));
}

#[test]
fn all_five_capability_sets_are_set() {
    let mut rig = Rig::new();
    let caps = &mut rig.sandbox.capabilities;
    caps.bounding = vec!["CAP_CHOWN".into(), "CAP_KILL".into(), "CAP_SETUID".into()];
    caps.permitted = vec!["CAP_CHOWN".into(), "CAP_KILL".into()];
    caps.effective = vec!["CAP_CHOWN".into()];
    caps.inheritable = vec!["CAP_KILL".into()];
    caps.ambient = vec!["CAP_KILL".into()];
    let seen = |rig: &Rig| {
        let created = rig.create(&[]).unwrap();
        let sets = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs"];
        let seen: Vec<_> = sets.map(|s| format!("{s} {}", created.status(s))).into();
        created.finish();
        seen.join("\n")
    };
    expect![[r#"
        CapBnd 00000000000000a1
        CapPrm 0000000000000021
        CapEff 0000000000000001
        CapInh 0000000000000020
        CapAmb 0000000000000020
        NoNewPrivs 1"#]]
    .assert_eq(&seen(&rig));
    // Another user than root has only the ambient ones, as after an exec.
    rig.sandbox.user.uid = 1;
    expect![[r#"
        CapBnd 00000000000000a1
        CapPrm 0000000000000020
        CapEff 0000000000000020
        CapInh 0000000000000020
        CapAmb 0000000000000020
        NoNewPrivs 1"#]]
    .assert_eq(&seen(&rig));
}

#[test]
fn a_user_other_than_root_does_not_open_roots_files() {
    let mut rig = Rig::new();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(rig.file("data"), closed).unwrap();
    assert_eq!(rig.run(&["ls /data"]), "ls /data: \n");
    rig.sandbox.user.uid = 1234;
    assert_eq!(rig.run(&["ls /data"]), "ls /data: permission denied\n");
}

#[test]
fn what_the_node_cannot_give_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.sandbox.capabilities.permitted = vec!["CAP_SYS_RESOURCE".into(), "CAP_NONE".into()];
    expect![
        "refused: process.capabilities.permitted CAP_NONE is no capability, see capabilities(7)\n"
    ]
    .assert_eq(&rig.run(&[]));
    rig.sandbox.capabilities = Default::default();
    rig.sandbox.apparmor_profile = Some("nothing".into());
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let why = match apparmor.is_ok_and(|enabled| enabled.trim() == "Y") {
        true => {
            "refused: applying process.apparmorProfile nothing: it is not loaded on this node: No such file"
        }
        false => {
            "refused: process.apparmorProfile nothing: this node's kernel has no AppArmor; leave the field out"
        }
    };
    let told = rig.run(&[]);
    assert!(told.starts_with(why), "{told}");
    rig.sandbox.apparmor_profile = None;
    rig.sandbox.selinux_label = Some("a:b:c".into());
    expect!["refused: process.selinuxLabel a:b:c: this node's kernel has no SELinux; leave the field out\n"]
        .assert_eq(&rig.run(&[]));
    rig.sandbox.selinux_label = None;
    rig.sandbox.rlimits = vec![Rlimit { name: "RLIMIT_ODD".into(), soft: 1, hard: 1 }];
    expect!["refused: process.rlimits RLIMIT_ODD is no limit of Linux, see getrlimit(2)\n"]
        .assert_eq(&rig.run(&[]));
    rig.sandbox.rlimits.clear();
    rig.sandbox.sysctl.insert("vm.swappiness".into(), "1".into());
    expect!["refused: linux.sysctl vm.swappiness belongs to no namespace: set it on the node\n"]
        .assert_eq(&rig.run(&[]));
}

#[test]
fn a_lower_oom_score_needs_a_capability_and_says_so() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = own.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
    let may = u64::from_str_radix(effective, 16).unwrap() & 1 << 24 != 0;
    let mut rig = Rig::new();
    rig.sandbox.oom_score_adj = Some(-998);
    match rig.create(&[]) {
        Ok(created) => {
            assert!(may);
            created.finish();
        }
        Err(why) => {
            assert!(
                !may && why.contains("process.oomScoreAdj") && why.contains("CAP_SYS_RESOURCE"),
                "{why}"
            );
        }
    }
    rig.sandbox.oom_score_adj = Some(500);
    let created = rig.create(&[]).unwrap();
    let path = format!("/proc/{}/oom_score_adj", created.child.pid);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "500\n");
    created.finish();
}

#[test]
fn a_higher_hard_limit_needs_a_capability_and_says_so() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = own.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
    let may = u64::from_str_radix(effective, 16).unwrap() & 1 << 24 != 0;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let Some(hard) = limit.maximum else { return };
    let mut rig = Rig::new();
    let name = "RLIMIT_NOFILE".to_owned();
    rig.sandbox.rlimits = vec![Rlimit { name, soft: hard, hard: hard + 1 }];
    let said = rig.run(&[]);
    let refused =
        said.contains("process.rlimits RLIMIT_NOFILE") && said.contains("CAP_SYS_RESOURCE");
    assert_eq!(refused, !may, "{said}");
}

/// As Debian's kernel gives huge ones: an instance that touches a byte had 2 MB.
#[test]
fn a_guest_takes_memory_by_small_pages_on_every_node() {
    let created = Rig::new().create(&[]).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", created.child.pid)).unwrap();
    assert!(status.contains("THP_enabled:\t0"), "{status}");
    created.finish();
}

#[test]
fn sysctls_of_a_namespace_are_set() {
    let mut rig = Rig::new();
    rig.sandbox.sysctl.insert("net.ipv4.ip_unprivileged_port_start".into(), "7".into());
    rig.sandbox.sysctl.insert("kernel.shmmni".into(), "99".into());
    expect![[r#"
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start: 7
        cat /proc/sys/kernel/shmmni: 99
    "#]]
    .assert_eq(&rig.run(&[
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "cat /proc/sys/kernel/shmmni",
    ]));
}

/// WASI has no getuid: `id` in a container reads this, and called everybody root without it.
#[test]
fn a_guest_can_read_who_it_is_and_nothing_more_of_its_process() {
    let mut rig = Rig::new();
    rig.sandbox.user.uid = 33;
    rig.sandbox.user.gid = 34;
    rig.sandbox.user.additional_gids = vec![5, 6];
    expect![[r#"
        cat /proc/self/status: Name:	wherry-guest|State:	R (running)|Uid:	33	33	33	33|Gid:	34	34	34	34|Groups:	5 6
        write /proc/self/status: permission denied
        cat /proc/self/cmdline: cat /proc/self/status^write /proc/self/status^cat /proc/self/cmdline^cat /proc/self/uid_map^cat /proc/self/maps^ls /proc/acpi^
        cat /proc/self/uid_map: 0          0 4294967295
        cat /proc/self/maps: entity not found
        ls /proc/acpi: 
    "#]]
    .assert_eq(&rig.run(&[
        "cat /proc/self/status",
        "write /proc/self/status",
        "cat /proc/self/cmdline",
        "cat /proc/self/uid_map",
        "cat /proc/self/maps",
        "ls /proc/acpi",
    ]));
}
