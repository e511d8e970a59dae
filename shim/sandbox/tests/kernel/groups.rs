//! Control groups of this node, made and removed.

use std::process::{Child, Command};

use oci_spec::runtime::LinuxResources;
use wherry_core::plan;
use wherry_sandbox::cgroup::{Cgroup, Hierarchies};

use crate::rig::{unified, wait_readable};

fn plan(name: &str, resources: &str) -> plan::Cgroup {
    plan::Cgroup {
        place: plan::CgroupPlace::Path(
            format!("/wherry-test-{name}-{}", std::process::id()).into(),
        ),
        resources: Some(serde_json::from_str(resources).unwrap()),
        devices: Vec::new(),
    }
}

fn both(name: &str) -> Vec<Cgroup> {
    let plan = plan(name, "{}");
    let here = Hierarchies::of_this_node().unwrap();
    let mut groups = vec![Cgroup::create_in(here, &plan).unwrap()];
    if *here != unified() {
        groups.push(Cgroup::create_in(&unified(), &plan).unwrap());
    }
    groups
}

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

fn read(group: &Cgroup, controller: &str, file: &str) -> String {
    let folder = group.folder(controller).unwrap();
    std::fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
}

fn gone(group: &Cgroup) {
    group.delete().unwrap();
    group.delete().unwrap();
    assert!(group.locator().folders.iter().all(|f| !f.path.exists()));
    assert_eq!(group.pids().unwrap(), [0_u32; 0]);
    group.kill_all().unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
}

#[test]
fn processes_are_moved_listed_frozen_and_killed_by_another_process() {
    for group in both("kill") {
        let mut children = [sleeper(), sleeper()];
        for child in &children {
            group.add(child.id()).unwrap();
        }
        let below = group.folder("pids").unwrap().join("below");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(below.join("cgroup.procs"), children[1].id().to_string()).unwrap();
        let mut expected = children.each_ref().map(Child::id);
        expected.sort_unstable();
        assert_eq!(group.pids().unwrap(), expected);

        group.freeze().unwrap();
        group.thaw().unwrap();
        group.freeze().unwrap();

        // What the `delete` of another shim process does, with nothing but the locator.
        let json = serde_json::to_string(group.locator()).unwrap();
        let other = Cgroup::locate(serde_json::from_str(&json).unwrap());
        other.kill_all().unwrap();
        for child in &mut children {
            child.wait().unwrap();
        }
        gone(&other);
    }
}

#[test]
fn resources_are_set_and_changed() {
    let plan = plan(
        "set",
        r#"{"memory":{"limit":67108864,"swap":67108864},"cpu":{"shares":512,"quota":20000,"period":50000},
            "pids":{"limit":9}}"#,
    );
    let group = Cgroup::create(&plan).unwrap();
    let v1: [(&str, &str); 5] = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("pids", "pids.max"),
    ];
    let v2 = [
        ("memory", "memory.max"),
        ("memory", "memory.swap.max"),
        ("cpu", "cpu.weight"),
        ("cpu", "cpu.max"),
        ("pids", "pids.max"),
    ];
    let is_v1 = matches!(Hierarchies::of_this_node().unwrap(), Hierarchies::Legacy(_));
    let values = |group: &Cgroup| {
        let files = if is_v1 { v1 } else { v2 };
        files.map(|(controller, file)| read(group, controller, file)).join(" ")
    };
    // Version 2 counts swap apart from memory, and shares by another scale.
    let check = |v1: &str, v2: &str| assert_eq!(values(&group), if is_v1 { v1 } else { v2 });
    check("67108864 67108864 512 20000 9", "67108864 0 59 20000 50000 9");
    // Up: memory cannot pass memory and swap, so the second goes first.
    let change = |json: &str| {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        group.update(&resources).map_err(|e| e.sentence())
    };
    change(r#"{"memory":{"limit":134217728,"swap":268435456}}"#).unwrap();
    check("134217728 268435456 512 20000 9", "134217728 134217728 59 20000 50000 9");
    change(r#"{"memory":{"limit":33554432,"swap":33554432},"pids":{"limit":-1}}"#).unwrap();
    check("33554432 33554432 512 20000 max", "33554432 0 59 20000 50000 max");
    // Half of a pair leaves the other half as it is.
    change(r#"{"cpu":{"period":40000}}"#).unwrap();
    check("33554432 33554432 512 20000 max", "33554432 0 59 20000 40000 max");
    change(r#"{"cpu":{"quota":-1,"period":50000}}"#).unwrap();
    check("33554432 33554432 512 -1 max", "33554432 0 59 max 50000 max");
    change(r#"{"cpu":{"quota":30000}}"#).unwrap();
    check("33554432 33554432 512 30000 max", "33554432 0 59 30000 50000 max");
    change(r#"{"cpu":{"quota":-1}}"#).unwrap();
    check("33554432 33554432 512 -1 max", "33554432 0 59 max 50000 max");
    let why = change(r#"{"cpu":{"cpus":"77777"}}"#).unwrap_err();
    assert!(why.contains("linux.resources.cpu.cpus"), "{why}");
    gone(&group);
}

/// Else the second would be limited as the first, and killed when the first is deleted.
#[test]
fn a_group_that_somebody_is_in_is_nobody_elses() {
    let plan = plan("taken", "{}");
    let group = Cgroup::create(&plan).unwrap();
    let mut inside = Command::new("sleep").arg("600").spawn().unwrap();
    group.add(inside.id()).unwrap();
    let why = Cgroup::create(&plan).unwrap_err().sentence();
    assert!(why.contains("cgroup is not empty: 1 process(es)"), "{why}");
    assert_eq!(group.pids().unwrap(), [inside.id()], "it is as it was");
    inside.kill().unwrap();
    inside.wait().unwrap();
    gone(&group);
}

#[test]
fn a_kill_for_want_of_memory_is_told_and_counted() {
    let plan = plan("oom", r#"{"memory":{"limit":8388608,"swap":8388608}}"#);
    let group = Cgroup::create(&plan).unwrap();
    let watch = group.watch_oom().unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    // tail keeps a line of 64 MB, and the kernel kills it.
    let tasks = group.folder("memory").unwrap().join("cgroup.procs");
    let script = format!("echo 0 > {}; head -c 64000000 /dev/zero | tail", tasks.display());
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(!status.success());
    wait_readable(&watch);
    watch.clear();
    assert!(group.oom_kills().unwrap() >= 1);
    gone(&group);
}

#[test]
fn device_rules_hold_in_both_versions() {
    let rules = serde_json::from_str(
        r#"[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
            {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]"#,
    );
    let mut plan = plan("devices", "{}");
    plan.devices = rules.unwrap();
    for hierarchies in [Hierarchies::of_this_node().unwrap(), &unified()] {
        let group = Cgroup::create_in(hierarchies, &plan).unwrap();
        let procs = group.folder("devices").unwrap().join("cgroup.procs");
        let script = format!(
            "echo 0 > {}; cat < /dev/null && echo null; head -c1 /dev/zero | wc -c; \
             (echo x > /dev/zero) 2>/dev/null || echo no zero; (cat < /dev/full) 2>/dev/null || echo no full",
            procs.display()
        );
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "null\n1\nno zero\nno full\n");
        // containerd sends the rules of the spec with each new limit (container_update_resources_linux.go).
        let given = serde_json::from_str(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
        group.update(&given.unwrap()).unwrap();
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "null\n1\nno zero\nno full\n");
        gone(&group);
    }
}

#[test]
fn a_failure_leaves_no_group() {
    let plan = plan("undone", r#"{"cpu":{"cpus":"77777"}}"#);
    let why = Cgroup::create(&plan).unwrap_err().sentence();
    assert!(why.contains("linux.resources.cpu.cpus"), "{why}");
    let plan::CgroupPlace::Path(path) = &plan.place else { panic!() };
    let inside = path.strip_prefix("/").unwrap();
    let folders: Vec<_> = match Hierarchies::of_this_node().unwrap() {
        Hierarchies::Legacy(all) => all.iter().map(|h| h.mount.join(inside)).collect(),
        Hierarchies::Unified(root) => vec![root.join(inside)],
    };
    for folder in folders {
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[test]
fn groups_are_made_and_removed_quickly() {
    let (mut made, mut removed) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let plan = plan(&format!("quick-{n}"), "{}");
        let start = std::time::Instant::now();
        let group = Cgroup::create(&plan).unwrap();
        made.push(start.elapsed().as_micros());
        let start = std::time::Instant::now();
        group.delete().unwrap();
        removed.push(start.elapsed().as_micros());
    }
    for (what, times) in [("create", &mut made), ("delete", &mut removed)] {
        times.sort_unstable();
        println!("{what}: least {} us, median {}, p90 {}", times[0], times[15], times[27]);
    }
    assert!(made[15] < 50_000 && removed[15] < 50_000, "{made:?} {removed:?}");
}
