//! Cases that differ in one thing, and what that decides.

use std::path::PathBuf;

use expect_test::expect;
use wherry_core::plan::Plan;
use wherry_core::spec::Facts;

use crate::{node, plan, told};

#[test]
fn the_program_is_searched_as_execvp_does_and_then_where_images_put_it() {
    let cases = [
        ("/process/args", r#"["/app.wasm"]"#),
        ("/process/args", r#"["./app.wasm"]"#),
        ("/process/args", r#"["bin/app.wasm", "x"]"#),
        ("/process/args", r#"["app.wasm"]"#),
        ("/process/args", r##"["/calc.wasm#docs:adder/add@0.1.0#add", "1", "2"]"##),
        ("/process/args", r##"["#run"]"##),
        (
            "/process",
            r#"{"user": {"uid": 0, "gid": 0}, "cwd": "/work", "args": ["app.wasm"], "env": ["PATH=/bin::rel"]}"#,
        ),
    ];
    told(
        &cases,
        "",
        &node(),
        |plan| format!("{:?} {:?}", plan.program.candidates, plan.program.export),
        expect![[r##"
            ["/app.wasm"]: ["/app.wasm"] None
            ["./app.wasm"]: ["/./app.wasm"] None
            ["bin/app.wasm", "x"]: ["/bin/app.wasm"] None
            ["app.wasm"]: ["/usr/local/sbin/app.wasm", "/usr/local/bin/app.wasm", "/usr/sbin/app.wasm", "/usr/bin/app.wasm", "/sbin/app.wasm", "/bin/app.wasm", "/app.wasm"] None
            ["/calc.wasm#docs:adder/add@0.1.0#add", "1", "2"]: ["/calc.wasm"] Some("docs:adder/add@0.1.0#add")
            ["#run"]: [] Some("run")
            {"user": {"uid": 0, "gid": 0}, "cwd": "/work", "args": ["app.wasm"], "env": ["PATH=/bin::rel"]}: ["/bin/app.wasm", "/work/app.wasm", "/work/rel/app.wasm", "/app.wasm"] None
        "##]],
    );
}

#[test]
fn mount_options_become_flags() {
    let mount = |options: &str| {
        format!(
            r#"[{{"destination": "a/../b", "type": "x", "source": "y", "options": [{options}]}}]"#
        )
    };
    let mounts: Vec<String> = [
        r#""ro", "nosuid", "noexec""#,
        r#""ro", "rw""#,
        r#""rro""#,
        r#""rrelatime""#,
        r#""rnoatime", "rnosuid", "rdev""#,
        r#""rslave", "defaults", "size=5", "huge=always""#,
        r#""bind""#,
        r#""bind", "rbind", "private""#,
        r#""symfollow", "nosymfollow", "lazytime", "remount""#,
    ]
    .map(mount)
    .to_vec();
    let cases: Vec<(&str, &str)> = mounts.iter().map(|mount| ("/mounts", mount.as_str())).collect();
    told(
        &cases,
        "",
        &node(),
        |plan| {
            let m = &plan.sandbox.mounts[0];
            format!(
                "{} {:?} +{:x} -{:x} tree +{:x} -{:x} {:?} {:?}",
                m.destination.display(),
                m.what,
                m.flags.set,
                m.flags.clear,
                m.recursive.set,
                m.recursive.clear,
                m.propagation,
                m.data
            )
        },
        expect![[r#"
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["ro", "nosuid", "noexec"]}]: /b Filesystem { kind: "x", source: "y" } +b -0 tree +0 -0 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["ro", "rw"]}]: /b Filesystem { kind: "x", source: "y" } +0 -1 tree +0 -0 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["rro"]}]: /b Filesystem { kind: "x", source: "y" } +0 -0 tree +1 -0 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["rrelatime"]}]: /b Filesystem { kind: "x", source: "y" } +0 -0 tree +0 -70 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["rnoatime", "rnosuid", "rdev"]}]: /b Filesystem { kind: "x", source: "y" } +0 -0 tree +12 -74 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["rslave", "defaults", "size=5", "huge=always"]}]: /b Filesystem { kind: "x", source: "y" } +0 -0 tree +0 -0 Some((Slave, Yes)) "size=5,huge=always"
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["bind"]}]: /b Bind { source: "/run/containerd/io.containerd.runtime.v2.task/ns/id/y", recursive: No } +0 -0 tree +0 -0 None ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["bind", "rbind", "private"]}]: /b Bind { source: "/run/containerd/io.containerd.runtime.v2.task/ns/id/y", recursive: Yes } +0 -0 tree +0 -0 Some((Private, No)) ""
            [{"destination": "a/../b", "type": "x", "source": "y", "options": ["symfollow", "nosymfollow", "lazytime", "remount"]}]: /b Filesystem { kind: "x", source: "y" } +2000120 -0 tree +0 -0 None ""
        "#]],
    );
}

/// Runtime spec 1.3, config.md, "Linux mount options", `idmap`; runc's choice where it leaves one.
#[test]
fn mounts_are_id_mapped_as_they_say_or_as_the_containers_user_namespace() {
    let ids = r#""uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}]"#;
    let case = |namespace: &str, mount: &str| {
        let new =
            if namespace == r#"{"type": "user"}"# { format!(", {ids}") } else { String::new() };
        let more = if mount.contains("MAPPED") { ids } else { r#""type": "bind""# };
        let mount = mount.replace(", MAPPED", "");
        format!(
            r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs"}},
            "process": {{"user": {{"uid": 0, "gid": 0}}, "cwd": "/", "args": ["/app.wasm"]}},
            "mounts": [{{"destination": "/v", "source": "/v", "options": [{mount}], {more}}}],
            "linux": {{"namespaces": [{{"type": "mount"}}, {namespace}]{new}}}}}"#
        )
    };
    let cases = [
        (r#"{"type": "ipc"}"#, r#""rbind""#),
        (r#"{"type": "ipc"}"#, r#""rbind", MAPPED"#),
        (r#"{"type": "ipc"}"#, r#""rbind", "idmap", MAPPED"#),
        (r#"{"type": "ipc"}"#, r#""rbind", "ridmap", MAPPED"#),
        (r#"{"type": "ipc"}"#, r#""rbind", "ridmap""#),
        (r#"{"type": "user"}"#, r#""rbind", "idmap""#),
        (r#"{"type": "user", "path": "/proc/7/ns/user"}"#, r#""rbind", "ridmap""#),
    ];
    let mut text = String::new();
    for (namespace, mount) in cases {
        text += &match plan(&case(namespace, mount), "", &node()) {
            Ok(plan) => format!("{namespace} {mount}: {:?}\n", plan.sandbox.mounts[0].idmap),
            Err(refusal) => format!("{namespace} {mount}: refused: {refusal}\n"),
        };
    }
    expect![[r#"
        {"type": "ipc"} "rbind": None
        {"type": "ipc"} "rbind", MAPPED: Some(IdMap { ids: Mapped { uids: [IdMapping { container: 0, host: 100000, size: 65536 }], gids: [IdMapping { container: 0, host: 200000, size: 65536 }] }, recursive: No })
        {"type": "ipc"} "rbind", "idmap", MAPPED: Some(IdMap { ids: Mapped { uids: [IdMapping { container: 0, host: 100000, size: 65536 }], gids: [IdMapping { container: 0, host: 200000, size: 65536 }] }, recursive: No })
        {"type": "ipc"} "rbind", "ridmap", MAPPED: Some(IdMap { ids: Mapped { uids: [IdMapping { container: 0, host: 100000, size: 65536 }], gids: [IdMapping { container: 0, host: 200000, size: 65536 }] }, recursive: Yes })
        {"type": "ipc"} "rbind", "ridmap": refused: mounts[0] (/v) is to be id-mapped without uidMappings and gidMappings, and the container has no user namespace whose mappings could be taken
        {"type": "user"} "rbind", "idmap": Some(IdMap { ids: Mapped { uids: [IdMapping { container: 0, host: 100000, size: 65536 }], gids: [IdMapping { container: 0, host: 200000, size: 65536 }] }, recursive: No })
        {"type": "user", "path": "/proc/7/ns/user"} "rbind", "ridmap": Some(IdMap { ids: OfNamespace("/proc/7/ns/user"), recursive: Yes })
    "#]].assert_eq(&text);
}

#[test]
fn the_cgroup_is_where_the_kubelet_or_docker_wants_it() {
    let cases = [
        ("/linux/cgroupsPath", r#""""#),
        ("/linux/cgroupsPath", r#""/kubepods/pod1/c""#),
        ("/linux/cgroupsPath", r#""a/../../b""#),
        ("/linux/cgroupsPath", r#""kubepods.slice:cri-containerd:c""#),
        ("/linux/cgroupsPath", r#"":docker:c""#),
        ("/linux/cgroupsPath", r#""a:b:""#),
    ];
    let place = |plan: &Plan| format!("{:?}", plan.cgroup.place);
    let systemd = Facts { systemd: true, ..node() };
    told(
        &cases,
        "",
        &node(),
        place,
        expect![[r#"
        "": Path("/wherry/ns/id")
        "/kubepods/pod1/c": Path("/kubepods/pod1/c")
        "a/../../b": Path("/b")
        "kubepods.slice:cri-containerd:c": Path("/kubepods.slice:cri-containerd:c")
        ":docker:c": Path("/:docker:c")
        "a:b:": Path("/a:b:")
    "#]],
    );
    told(
        &cases,
        "",
        &systemd,
        place,
        expect![[r#"
        "": Path("/wherry/ns/id")
        "/kubepods/pod1/c": Path("/kubepods/pod1/c")
        "a/../../b": Path("/b")
        "kubepods.slice:cri-containerd:c": Systemd { slice: "kubepods.slice", prefix: "cri-containerd", name: "c" }
        ":docker:c": Systemd { slice: "system.slice", prefix: "docker", name: "c" }
        "a:b:": refused: linux.cgroupsPath is "a:b:", which names no scope
    "#]],
    );
    told(
        &cases,
        "SystemdCgroup = true",
        &systemd,
        place,
        expect![[r#"
        "": Systemd { slice: "system.slice", prefix: "wherry", name: "ns-id" }
        "/kubepods/pod1/c": refused: linux.cgroupsPath is "/kubepods/pod1/c": with SystemdCgroup in the runtime's options it must be slice:prefix:name (set the kubelet's cgroupDriver to systemd, too)
        "a/../../b": refused: linux.cgroupsPath is "a/../../b": with SystemdCgroup in the runtime's options it must be slice:prefix:name (set the kubelet's cgroupDriver to systemd, too)
        "kubepods.slice:cri-containerd:c": Systemd { slice: "kubepods.slice", prefix: "cri-containerd", name: "c" }
        ":docker:c": Systemd { slice: "system.slice", prefix: "docker", name: "c" }
        "a:b:": refused: linux.cgroupsPath is "a:b:", which names no scope
    "#]],
    );
    told(
        &cases[..1],
        "SystemdCgroup = true",
        &node(),
        place,
        expect![[r#"
        "": refused: SystemdCgroup is true in the runtime's options, but systemd does not run this node
    "#]],
    );
    told(
        &cases[3..4],
        "systemd_cgroup = false",
        &systemd,
        place,
        expect![[r#"
        "kubepods.slice:cri-containerd:c": Path("/kubepods.slice:cri-containerd:c")
    "#]],
    );
}

#[test]
fn the_cpu_limit_makes_the_threads() {
    let cases = [
        ("/linux/resources/cpu", r#"{"shares": 512}"#),
        ("/linux/resources/cpu", r#"{"quota": 50000, "period": 100000}"#),
        ("/linux/resources/cpu", r#"{"quota": 250000}"#),
        ("/linux/resources/cpu", r#"{"quota": -1, "period": 100000}"#),
        ("/linux/resources/cpu", r#"{"quota": 100000000, "period": 1000}"#),
        ("/linux/resources/cpu", r#"{"cpus": "0-2,7"}"#),
        ("/linux/resources/cpu", r#"{"cpus": "0", "quota": 400000}"#),
        ("/linux/resources/cpu", r#"{"cpus": ""}"#),
    ];
    told(
        &cases,
        "",
        &node(),
        |plan| format!("{:?}", plan.run.threads),
        expect![[r#"
        {"shares": 512}: None
        {"quota": 50000, "period": 100000}: Some(1)
        {"quota": 250000}: Some(3)
        {"quota": -1, "period": 100000}: None
        {"quota": 100000000, "period": 1000}: Some(8)
        {"cpus": "0-2,7"}: Some(4)
        {"cpus": "0", "quota": 400000}: Some(1)
        {"cpus": ""}: None
    "#]],
    );
}

#[test]
fn preopens_are_the_root_and_the_volumes() {
    let dirs = ["/v", "/w"].map(PathBuf::from);
    let facts = Facts { directories: dirs.into(), ..node() };
    let volume = |at: &str, from: &str, options: &str| {
        format!(r#"{{"destination": "{at}", "source": "{from}", "options": ["rbind"{options}]}}"#)
    };
    let lists = [
        volume("/data", "/v", ""),
        volume("/data", "/v", r#", "ro""#),
        volume("/data", "/v", r#", "rro""#),
        volume("/etc/hosts", "/file", ""),
        [volume("/data/inner", "/v", ""), volume("/data", "/w", "")].join(","),
        [volume("/data", "/w", ""), volume("/data/inner", "/v", r#", "ro""#)].join(","),
        volume("/dev/shm", "/v", ""),
        volume("/host/proc", "/v", ""),
        volume("/", "/v", ""),
        r#"{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}"#.into(),
    ];
    let lists = lists.map(|list| format!("[{list}]"));
    let cases: Vec<(&str, &str)> = lists.iter().map(|list| ("/mounts", list.as_str())).collect();
    let tell = |plan: &Plan| {
        let told = plan
            .run
            .preopens
            .iter()
            .map(|p| format!("{}{}", p.path, if p.read_only { " (ro)" } else { "" }));
        told.collect::<Vec<_>>().join(", ")
    };
    told(
        &cases,
        "",
        &facts,
        tell,
        expect![[r#"
        [{"destination": "/data", "source": "/v", "options": ["rbind"]}]: /, /data
        [{"destination": "/data", "source": "/v", "options": ["rbind", "ro"]}]: /, /data (ro)
        [{"destination": "/data", "source": "/v", "options": ["rbind", "rro"]}]: /, /data (ro)
        [{"destination": "/etc/hosts", "source": "/file", "options": ["rbind"]}]: /
        [{"destination": "/data/inner", "source": "/v", "options": ["rbind"]},{"destination": "/data", "source": "/w", "options": ["rbind"]}]: /, /data
        [{"destination": "/data", "source": "/w", "options": ["rbind"]},{"destination": "/data/inner", "source": "/v", "options": ["rbind", "ro"]}]: /, /data, /data/inner (ro)
        [{"destination": "/dev/shm", "source": "/v", "options": ["rbind"]}]: /
        [{"destination": "/host/proc", "source": "/v", "options": ["rbind"]}]: /, /host/proc
        [{"destination": "/", "source": "/v", "options": ["rbind"]}]: /
        [{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]: /, /tmp
    "#]],
    );
    told(
        &cases,
        "[defaults]\nroot = \"none\"",
        &facts,
        tell,
        expect![[r#"
        [{"destination": "/data", "source": "/v", "options": ["rbind"]}]: /data
        [{"destination": "/data", "source": "/v", "options": ["rbind", "ro"]}]: /data (ro)
        [{"destination": "/data", "source": "/v", "options": ["rbind", "rro"]}]: /data (ro)
        [{"destination": "/etc/hosts", "source": "/file", "options": ["rbind"]}]: 
        [{"destination": "/data/inner", "source": "/v", "options": ["rbind"]},{"destination": "/data", "source": "/w", "options": ["rbind"]}]: /data
        [{"destination": "/data", "source": "/w", "options": ["rbind"]},{"destination": "/data/inner", "source": "/v", "options": ["rbind", "ro"]}]: /data, /data/inner (ro)
        [{"destination": "/dev/shm", "source": "/v", "options": ["rbind"]}]: 
        [{"destination": "/host/proc", "source": "/v", "options": ["rbind"]}]: /host/proc
        [{"destination": "/", "source": "/v", "options": ["rbind"]}]: /
        [{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]: /run, /tmp
    "#]],
    );
}
