//! The sandbox of a pod as the shim makes it by itself, and what its containers get of it.

use std::fmt::Write as _;
use std::path::Path;

use expect_test::{Expect, expect};
use wherry_core::plan::IdMapping;
use wherry_core::spec::pod::{Config, Dns, Holder, Scope, Shared, Users, complete, pod};

/// What the kubelet asks for when a pod asks for nothing.
fn plain() -> Config {
    Config {
        hostname: "web-0".into(),
        dns: Some(Dns {
            servers: vec!["10.96.0.10".into(), "fd00::a".into()],
            searches: vec!["default.svc".into(), "svc".into()],
            options: vec!["ndots:5".into()],
        }),
        cgroup_parent: "/kubepods/pod1".into(),
        pid: Scope::Container,
        ..Config::default()
    }
}

#[track_caller]
fn check(config: &Config, netns: Option<&str>, userns: Option<&str>, expected: Expect) {
    let mut text = String::new();
    match pod("p", config, netns.map(Path::new), userns.map(Path::new)) {
        Ok(pod) => {
            for (name, content) in &pod.files {
                let _ = writeln!(text, "{name}: {content:?}");
            }
            let _ = writeln!(text, "shm: {:?}", pod.shm);
            let _ = match &pod.holder {
                Holder::Thread(thread) => writeln!(text, "{thread:#?}"),
                Holder::Process(spec) => writeln!(text, "{spec:#}"),
            };
        }
        Err(refusal) => text = format!("{:?}: {refusal}\n", refusal.kind),
    }
    expected.assert_eq(&text);
}

const NETNS: Option<&str> = Some("/var/run/netns/cni-1");

#[test]
fn a_thread_holds_what_a_thread_can() {
    check(
        &plain(),
        NETNS,
        None,
        expect![[r#"
        hostname: Text("web-0\n")
        hosts: OfNode("/etc/hosts")
        resolv.conf: Text("search default.svc svc\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n")
        shm: Some(67108864)
        Thread {
            namespaces: [
                Namespace {
                    kind: Network,
                    path: Some(
                        "/var/run/netns/cni-1",
                    ),
                },
                Namespace {
                    kind: Uts,
                    path: None,
                },
                Namespace {
                    kind: Ipc,
                    path: None,
                },
            ],
            hostname: Some(
                "web-0",
            ),
            sysctl: {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
        }
    "#]],
    );
}

#[test]
fn a_pod_of_the_node_has_nothing_of_its_own() {
    let config =
        Config { network: Scope::Node, pid: Scope::Node, ipc: Scope::Node, ..Config::default() };
    check(
        &config,
        None,
        None,
        expect![[r#"
        hostname: NodeName
        hosts: OfNode("/etc/hosts")
        resolv.conf: OfNode("/etc/resolv.conf")
        shm: None
        Thread {
            namespaces: [],
            hostname: None,
            sysctl: {},
        }
    "#]],
    );
}

#[test]
fn a_shared_pid_namespace_needs_a_process() {
    let config = Config { pid: Scope::Pod, ..plain() };
    check(
        &config,
        NETNS,
        None,
        expect![[r#"
        hostname: Text("web-0\n")
        hosts: OfNode("/etc/hosts")
        resolv.conf: Text("search default.svc svc\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n")
        shm: Some(67108864)
        {
          "annotations": {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-id": "p"
          },
          "hostname": "web-0",
          "linux": {
            "cgroupsPath": "/kubepods/pod1/p",
            "namespaces": [
              {
                "path": "/var/run/netns/cni-1",
                "type": "network"
              },
              {
                "type": "uts"
              },
              {
                "type": "ipc"
              },
              {
                "type": "mount"
              },
              {
                "type": "pid"
              }
            ],
            "resources": {
              "cpu": {
                "shares": 2
              }
            },
            "sysctl": {
              "net.ipv4.ip_unprivileged_port_start": "0",
              "net.ipv4.ping_group_range": "0 2147483647"
            }
          },
          "mounts": [],
          "ociVersion": "1.2.0",
          "process": {
            "args": [
              "/pause"
            ],
            "cwd": "/",
            "noNewPrivileges": true,
            "user": {
              "gid": 0,
              "uid": 0
            }
          },
          "root": {
            "path": "pause",
            "readonly": true
          }
        }
    "#]],
    );
}

#[test]
fn a_user_namespace_needs_a_process() {
    let ids = vec![IdMapping { container: 0, host: 100_000, size: 65_536 }];
    let config = Config {
        users: Some(Users { uids: ids.clone(), gids: ids }),
        cgroup_parent: "/kubepods.slice/kubepods-pod1.slice".into(),
        ..plain()
    };
    check(
        &config,
        NETNS,
        Some("/proc/self/fd/9"),
        expect![[r#"
        hostname: Text("web-0\n")
        hosts: OfNode("/etc/hosts")
        resolv.conf: Text("search default.svc svc\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n")
        shm: Some(67108864)
        {
          "annotations": {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-id": "p"
          },
          "hostname": "web-0",
          "linux": {
            "cgroupsPath": "kubepods-pod1.slice:cri-containerd:p",
            "gidMappings": [
              {
                "containerID": 0,
                "hostID": 100000,
                "size": 65536
              }
            ],
            "namespaces": [
              {
                "path": "/var/run/netns/cni-1",
                "type": "network"
              },
              {
                "type": "uts"
              },
              {
                "type": "ipc"
              },
              {
                "type": "mount"
              },
              {
                "type": "pid"
              },
              {
                "path": "/proc/self/fd/9",
                "type": "user"
              }
            ],
            "resources": {
              "cpu": {
                "shares": 2
              }
            },
            "sysctl": {
              "net.ipv4.ip_unprivileged_port_start": "0"
            },
            "uidMappings": [
              {
                "containerID": 0,
                "hostID": 100000,
                "size": 65536
              }
            ]
          },
          "mounts": [],
          "ociVersion": "1.2.0",
          "process": {
            "args": [
              "/pause"
            ],
            "cwd": "/",
            "noNewPrivileges": true,
            "user": {
              "gid": 0,
              "uid": 0
            }
          },
          "root": {
            "path": "pause",
            "readonly": true
          }
        }
    "#]],
    );
}

#[test]
fn what_would_change_the_node_is_refused() {
    let sysctl = |key: &str| [(key.to_owned(), "1".to_owned())].into();
    check(
        &Config { sysctl: sysctl("vm.swappiness"), ..plain() },
        NETNS,
        None,
        expect![[r#"
        Invalid: linux.sysctl[vm.swappiness] is not kept apart by any namespace: it would change the node
    "#]],
    );
    let config = Config { network: Scope::Node, hostname: String::new(), ..plain() };
    check(
        &Config { sysctl: sysctl("net.core.somaxconn"), ..config },
        None,
        None,
        expect![[r#"
        Invalid: linux.sysctl[net.core.somaxconn] would change the node: it needs a network namespace in linux.namespaces
    "#]],
    );
    check(
        &Config { network: Scope::Node, ..plain() },
        None,
        None,
        expect![[r#"
        Invalid: hostname is "web-0", which needs a uts namespace in linux.namespaces
    "#]],
    );
    check(
        &plain(),
        None,
        None,
        expect![[r#"
        Invalid: netns_path is empty, and the pod is not to have the network of the node
    "#]],
    );
}

#[test]
fn what_a_pod_asks_for_wins_over_what_all_have() {
    let key = "net.ipv4.ip_unprivileged_port_start";
    let config = Config { sysctl: [(key.to_owned(), "80".to_owned())].into(), ..plain() };
    let pod = pod("p", &config, NETNS.map(Path::new), None).expect("a pod");
    let Holder::Thread(thread) = pod.holder else { panic!("a process") };
    assert_eq!(thread.sysctl.get(key).map(String::as_str), Some("80"));
}

/// A container as containerd describes it without the files of its pod.
const CONTAINER: &str = r#"{"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "newer": {"field": [1]},
    "annotations": {"io.kubernetes.cri.sandbox-id": "p"},
    "mounts": [{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid"]},
               {"destination": "/etc/hosts", "type": "bind", "source": "/kubelet/hosts"}]}"#;

#[track_caller]
fn completed(json: &str, shm: bool, expected: Expect) {
    let shared = Shared { id: "p".into(), folder: "/sandboxes/p".into(), shm };
    let told = match complete(json, &shared) {
        Ok(None) => "nothing changes\n".to_owned(),
        Ok(Some(json)) => {
            let again = complete(&json, &shared).expect("as it was read before");
            assert_eq!(again, None, "a second time changes something");
            let spec: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert!(json.contains(r#""newer":{"field":[1]}"#), "a field is lost");
            spec["mounts"].as_array().into_iter().flatten().map(|m| format!("{m}\n")).collect()
        }
        Err(refusal) => format!("{refusal}\n"),
    };
    expected.assert_eq(&told);
}

#[test]
fn containers_get_the_files_of_their_pod() {
    completed(
        CONTAINER,
        true,
        expect![[r#"
        {"destination":"/dev/shm","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/rootfs","type":"bind"}
        {"destination":"/etc/hosts","source":"/kubelet/hosts","type":"bind"}
        {"destination":"/etc/hostname","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/hostname","type":"bind"}
        {"destination":"/etc/resolv.conf","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/resolv.conf","type":"bind"}
    "#]],
    );
    completed(
        CONTAINER,
        false,
        expect![[r#"
        {"destination":"/dev/shm","options":["nosuid"],"source":"shm","type":"tmpfs"}
        {"destination":"/etc/hosts","source":"/kubelet/hosts","type":"bind"}
        {"destination":"/etc/hostname","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/hostname","type":"bind"}
        {"destination":"/etc/resolv.conf","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/resolv.conf","type":"bind"}
    "#]],
    );
    let readonly = CONTAINER.replace(r#""rootfs"}"#, r#""rootfs", "readonly": true}"#);
    completed(
        &readonly,
        true,
        expect![[r#"
        {"destination":"/dev/shm","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/rootfs","type":"bind"}
        {"destination":"/etc/hosts","source":"/kubelet/hosts","type":"bind"}
        {"destination":"/etc/hostname","options":["rbind","rprivate","ro"],"source":"/sandboxes/p/hostname","type":"bind"}
        {"destination":"/etc/resolv.conf","options":["rbind","rprivate","ro"],"source":"/sandboxes/p/resolv.conf","type":"bind"}
    "#]],
    );
    let ids = r#"[{"containerID": 0, "hostID": 100000, "size": 65536}]"#;
    let linux = format!(r#""linux": {{"uidMappings": {ids}, "gidMappings": {ids}}}, "mounts": ["#);
    completed(
        &CONTAINER.replace(r#""mounts": ["#, &linux),
        true,
        expect![[r#"
        {"destination":"/dev/shm","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/rootfs","type":"bind"}
        {"destination":"/etc/hosts","source":"/kubelet/hosts","type":"bind"}
        {"destination":"/etc/hostname","gidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"options":["rbind","rprivate","rw"],"source":"/sandboxes/p/hostname","type":"bind","uidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}
        {"destination":"/etc/resolv.conf","gidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"options":["rbind","rprivate","rw"],"source":"/sandboxes/p/resolv.conf","type":"bind","uidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}
    "#]],
    );
}

#[test]
fn others_are_left_alone() {
    completed(
        &CONTAINER.replace(r#": "p""#, r#": "q""#),
        true,
        expect![[r#"
        nothing changes
    "#]],
    );
    completed(
        r#"{"annotations": null}"#,
        true,
        expect![[r#"
        nothing changes
    "#]],
    );
    // A volume of the pod's is what it wants there.
    let volume = CONTAINER
        .replace(r#""type": "tmpfs", "source": "shm""#, r#""type": "bind", "source": "/v""#);
    completed(
        &volume,
        true,
        expect![[r#"
        {"destination":"/dev/shm","options":["nosuid"],"source":"/v","type":"bind"}
        {"destination":"/etc/hosts","source":"/kubelet/hosts","type":"bind"}
        {"destination":"/etc/hostname","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/hostname","type":"bind"}
        {"destination":"/etc/resolv.conf","options":["rbind","rprivate","rw"],"source":"/sandboxes/p/resolv.conf","type":"bind"}
    "#]],
    );
    completed(
        &CONTAINER.replace(r#""mounts": ["#, r#""mounts": 7, "x": ["#),
        true,
        expect![[r#"
        mounts is no list
    "#]],
    );
}
