//! Birth, hooks, start and end.

use std::fs;

use expect_test::expect;
use oci_spec::runtime::{Hook, LinuxNamespaceType as Kind};
use wherry_core::plan::{IdMapping, Namespace};

use crate::rig::Rig;

#[test]
fn a_guest_is_born_into_namespaces_and_groups_of_its_own() {
    let rig = Rig::new();
    let created = rig.create(&["cwd", "hostname", "id"]).unwrap();
    for name in ["pid", "ipc", "uts", "mnt", "net"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(created.namespace(name), own, "{name}");
    }
    assert_eq!(created.cgroup.pids().unwrap(), [created.child.pid]);
    assert_eq!(created.status("NSpid"), format!("{} 1", created.child.pid));
    expect![[r#"
        cwd: /
        hostname: inside
        id: 0 0 0 0 []
    "#]]
    .assert_eq(&created.start_and_finish());
}

#[test]
fn a_cgroup_namespace_begins_at_the_container() {
    let mut rig = Rig::new();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::Cgroup, path: None });
    let created = rig.create(&[]).unwrap();
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_ne!(created.namespace("cgroup"), own);
    created.finish();
}

/// Docker 29 asks for one in every container.
#[test]
fn a_time_namespace_is_made_and_joined() {
    let mut rig = Rig::new();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::Time, path: None });
    let first = rig.create(&["cwd"]).unwrap();
    let own = fs::read_link("/proc/self/ns/time").unwrap();
    assert_ne!(first.namespace("time"), own);
    let mut rig = Rig::new();
    let path = format!("/proc/{}/ns/time", first.child.pid).into();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::Time, path: Some(path) });
    let second = rig.create(&["cwd"]).unwrap();
    assert_eq!(second.namespace("time"), first.namespace("time"));
    assert_eq!(second.start_and_finish(), "cwd: /\n");
    assert_eq!(first.start_and_finish(), "cwd: /\n");
}

#[test]
fn namespaces_are_joined_by_path_and_the_guest_is_the_shims_child() {
    let rig = Rig::new();
    let first = rig.create(&[]).unwrap();
    for kinds in [vec![Kind::Network, Kind::Ipc, Kind::Uts], vec![Kind::Pid, Kind::Network]] {
        let mut rig = Rig::new();
        rig.sandbox.hostname = None;
        for namespace in &mut rig.sandbox.namespaces {
            if kinds.contains(&namespace.kind) {
                let path = format!("/proc/{}/ns/{}", first.child.pid, namespace.kind);
                namespace.path = Some(path.into());
            }
        }
        let second = rig.create(&["hostname"]).unwrap();
        for kind in &kinds {
            let name = kind.to_string();
            assert_eq!(second.namespace(&name), first.namespace(&name), "{name}");
        }
        assert_eq!(second.status("PPid"), std::process::id().to_string());
        let said = second.start_and_finish();
        if kinds.contains(&Kind::Uts) {
            assert_eq!(said, "hostname: inside\n");
        }
    }
    first.finish();
}

#[test]
fn a_second_guest_joins_the_mounts_of_the_first() {
    let mut rig = Rig::new();
    // The guest of the tests is not static: it needs its libraries there.
    for folder in ["/lib", "/lib64", "/usr"] {
        rig.mount(crate::rig::bind(folder, folder));
    }
    let first = rig.create(&[]).unwrap();
    rig.sandbox.hostname = None;
    rig.id.push_str("-second");
    for namespace in &mut rig.sandbox.namespaces {
        namespace.path = Some(format!("/proc/{}/ns/{}", first.child.pid, namespace.kind).into());
    }
    expect![[r#"
        cat /etc/name: image
        hostname: inside
        ls /proc/1: cmdline fd gid_map status uid_map
    "#]]
    .assert_eq(&rig.run(&["cat /etc/name", "hostname", "ls /proc/1"]));
    first.finish();
}

#[test]
fn a_user_namespace_maps_ids() {
    let mut rig = Rig::new();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::User, path: None });
    rig.sandbox.uid_mappings = vec![IdMapping { container: 0, host: 100_000, size: 65_536 }];
    rig.sandbox.gid_mappings = vec![IdMapping { container: 0, host: 200_000, size: 65_536 }];
    rig.sandbox.user.uid = 7;
    rig.sandbox.user.gid = 8;
    rig.sandbox.user.additional_gids = vec![9];
    rig.sandbox.capabilities = Default::default();
    // As containerd does for such a root file system.
    std::os::unix::fs::chown(rig.rootfs.path(), Some(100_000), Some(200_000)).unwrap();
    let created =
        rig.create(&["id", "stat /dev/null", "write /dev/null", "cat /etc/name"]).unwrap();
    assert_eq!(created.status("Uid"), "100007 100007 100007 100007");
    assert_eq!(created.status("Gid"), "200008 200008 200008 200008");
    expect![[r#"
        id: 7 7 8 8 [9]
        stat /dev/null: char 666 65534:65534 1:3
        write /dev/null: written
        cat /etc/name: image
    "#]]
    .assert_eq(&created.start_and_finish());
}

/// Born by `CLONE_INTO_CGROUP`, which has no v1.
#[test]
fn a_guest_is_born_into_a_v2_group() {
    let rig = Rig::new();
    let created = rig.create_below(&crate::rig::unified(), &["cwd"]).unwrap();
    assert!(created.cgroup.is_v2());
    assert_eq!(created.cgroup.pids().unwrap(), [created.child.pid]);
    assert_eq!(created.start_and_finish(), "cwd: /\n");
}

/// As the containers of a pod in a user namespace: all its namespaces but the mounts are joined.
#[test]
fn a_user_namespace_is_joined_with_what_belongs_to_it() {
    let mut rig = Rig::new();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::User, path: None });
    let map = vec![IdMapping { container: 0, host: 100_000, size: 65_536 }];
    (rig.sandbox.uid_mappings, rig.sandbox.gid_mappings) = (map.clone(), map);
    std::os::unix::fs::chown(rig.rootfs.path(), Some(100_000), Some(100_000)).unwrap();
    let first = rig.create(&[]).unwrap();
    let mut app = Rig::new();
    std::os::unix::fs::chown(app.rootfs.path(), Some(100_000), Some(100_000)).unwrap();
    app.sandbox.hostname = None;
    app.sandbox.namespaces = rig.sandbox.namespaces.clone();
    for namespace in app.sandbox.namespaces.iter_mut().filter(|n| n.kind != Kind::Mount) {
        namespace.path = Some(format!("/proc/{}/ns/{}", first.child.pid, namespace.kind).into());
    }
    let second = app.create(&["id", "hostname", "cat /etc/name"]).unwrap();
    for name in ["user", "pid", "net", "ipc", "uts"] {
        assert_eq!(second.namespace(name), first.namespace(name), "{name}");
    }
    assert_eq!(second.status("Uid"), "100000 100000 100000 100000");
    assert_eq!(second.status("PPid"), std::process::id().to_string());
    expect![[r#"
        id: 0 0 0 0 []
        hostname: inside
        cat /etc/name: image
    "#]]
    .assert_eq(&second.start_and_finish());
    first.finish();
}

/// A bundle that is its owner's alone, as containerd leaves it: the user namespace's root is
/// nobody there.
#[test]
fn a_user_namespace_does_not_need_to_walk_to_its_files() {
    let home = tempfile::tempdir().unwrap();
    // Shared, as systemd makes all mounts of a node.
    let plain = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", home.path(), "tmpfs", plain, None).unwrap();
    let shared = rustix::mount::MountPropagationFlags::SHARED;
    rustix::mount::mount_change(home.path(), shared).unwrap();
    let (root, volume) = (home.path().join("rootfs"), home.path().join("volume"));
    for folder in [&root, &volume, &root.join("proc"), &root.join("dev")] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(volume.join("file"), "from a volume").unwrap();
    std::os::unix::fs::chown(&root, Some(100_000), Some(100_000)).unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(home.path(), closed).unwrap();
    let mut rig = Rig::new();
    rig.sandbox.rootfs = root;
    rig.sandbox.namespaces.push(Namespace { kind: Kind::User, path: None });
    let map = vec![IdMapping { container: 0, host: 100_000, size: 65_536 }];
    (rig.sandbox.uid_mappings, rig.sandbox.gid_mappings) = (map.clone(), map);
    rig.mount(crate::rig::bind(&volume, "/volume"));
    expect![[r#"
        cat /volume/file: from a volume
        ls /proc/1: cmdline fd gid_map status uid_map
        thread-mem rw: read-only filesystem or storage medium
    "#]]
    .assert_eq(&rig.run(&["cat /volume/file", "ls /proc/1", "thread-mem rw"]));
    rustix::mount::unmount(home.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn what_fails_before_exec_is_told_over_the_wire() {
    let mut rig = Rig::new();
    rig.sandbox.namespaces.retain(|n| n.kind != Kind::Pid);
    // A file that is no namespace: opening it works, joining does not.
    rig.sandbox.namespaces.push(Namespace { kind: Kind::Pid, path: Some("/dev/null".into()) });
    expect!["refused: joining the pid namespace /dev/null (linux.namespaces): Invalid argument\n"]
        .assert_eq(&rig.run(&[]));
    rig.sandbox.namespaces.last_mut().unwrap().path = Some("/nowhere".into());
    expect!["refused: joining the pid namespace /nowhere (linux.namespaces): No such file or directory (os error 2)\n"]
        .assert_eq(&rig.run(&[]));
}

fn hook(script: &str) -> Option<Vec<Hook>> {
    let mut hook = Hook::default();
    hook.set_path("/bin/sh".into()).set_args(Some(vec!["sh".into(), "-c".into(), script.into()]));
    Some(vec![hook])
}

#[test]
fn hooks_run_where_and_when_the_spec_says() {
    let mut rig = Rig::new();
    let log = rig.file("tmp/log").display().to_string();
    rig.hooks
        .set_create_runtime(hook(&format!("echo runtime $(readlink /proc/self/ns/uts) >> {log}")));
    rig.hooks.set_create_container(hook(&format!(
        "echo container $(readlink /proc/self/ns/uts) $PWD >> {log}"
    )));
    let created = rig.create(&["cat /etc/name"]).unwrap();
    let inside = created.namespace("uts");
    let outside = fs::read_link("/proc/self/ns/uts").unwrap();
    let root = rig.sandbox.rootfs.display();
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        format!("runtime {}\ncontainer {} {root}\n", outside.display(), inside.display())
    );
    assert_eq!(created.start_and_finish(), "cat /etc/name: image\n");
}

#[test]
fn a_start_hook_runs_inside_before_the_program() {
    let mut rig = Rig::new();
    rig.mount(crate::rig::bind("/bin", "/bin"));
    for lib in ["/lib", "/lib64", "/usr"] {
        rig.mount(crate::rig::bind(lib, lib));
    }
    rig.sandbox.user.uid = 5;
    fs::create_dir(rig.file("out")).unwrap();
    std::os::unix::fs::chown(rig.file("out"), Some(5), None).unwrap();
    rig.hooks.set_start_container(hook("cat > /out/state; id -u > /out/uid"));
    let created = rig.create(&["cat /out/state", "cat /out/uid", "run /bin/true"]).unwrap();
    assert!(!rig.file("out/state").exists(), "not before start");
    let said = created.start_and_finish();
    assert!(said.contains(r#""status":"created""#), "{said}");
    assert!(said.contains("cat /out/uid: 5\nrun /bin/true: permission denied\n"), "{said}");
}

#[test]
fn a_failing_hook_refuses_the_container() {
    let mut rig = Rig::new();
    rig.hooks.set_create_runtime(hook("echo no network >&2; exit 4"));
    expect!["refused: the createRuntime hook /bin/sh ended with code 4: no network\n"]
        .assert_eq(&rig.run(&[]));
    rig.hooks.set_create_runtime(None);
    rig.hooks.set_create_container(hook("exit 5"));
    expect!["refused: the createContainer hook /bin/sh ended with code 5\n"]
        .assert_eq(&rig.run(&[]));
}

/// `cargo test --release -p wherry-sandbox --test kernel -- --nocapture quick`
#[test]
fn entering_is_quick() {
    let (mut birth, mut inside) = (Vec::new(), Vec::new());
    let (mut processor, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let rig = Rig::new();
        let start = std::time::Instant::now();
        let created = rig.create(&["took"]).unwrap();
        birth.push(start.elapsed().as_micros() as u64);
        let said = created.start_and_finish();
        let (wall, cpu) = said.trim().split_once(' ').unwrap();
        inside.push(wall.parse::<u64>().unwrap());
        processor.push(cpu.parse::<u64>().unwrap());
        whole.push(start.elapsed().as_micros() as u64);
    }
    for (what, times) in [
        ("create", &mut birth),
        ("enter", &mut inside),
        ("enter, processor", &mut processor),
        ("to delete", &mut whole),
    ] {
        times.sort_unstable();
        println!("{what}: least {} us, median {}, p90 {}", times[0], times[15], times[27]);
    }
    // On the busiest machine, without optimization: what would be noticed is a wait of some kind.
    assert!(inside[15] < 100_000, "{inside:?}");
}
