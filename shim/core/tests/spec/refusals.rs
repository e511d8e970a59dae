//! One case for each thing that is refused, with its sentence.

use expect_test::{Expect, expect};
use wherry_core::spec::{CgroupVersion, Facts};

use crate::{changed, node, plan};

/// One line for each case: what it says, and what is wrong with it.
#[track_caller]
fn refusals(facts: &Facts, cases: &[(&str, &str)], expected: Expect) {
    let mut told = String::new();
    for (pointer, value) in cases {
        match plan(&changed(pointer, value), "", facts) {
            Ok(_) => told += &format!("planned: {pointer} {value}\n"),
            Err(refusal) => told += &format!("{:?}: {refusal}\n", refusal.kind),
        }
    }
    expected.assert_eq(&told);
}

#[test]
fn a_spec_without_what_a_container_needs_is_refused() {
    refusals(
        &node(),
        &[
            ("/ociVersion", r#""2.0.0""#),
            ("/ociVersion", r#""1.0.2-dev""#),
            ("/ociVersion", "!"),
            ("/process", "!"),
            ("/root", "!"),
            ("/linux", "!"),
            ("/linux/namespaces", "[]"),
            ("/root/path", r#""""#),
            ("/process/args", "[]"),
            ("/process/args", "!"),
            ("/process/args", r#"["a\u0000b"]"#),
            ("/process/args", r##"["/app.wasm#"]"##),
            ("/process/cwd", r#""tmp""#),
            ("/process/cwd", r#""""#),
            ("/process/env", r#"["A=1", "secret"]"#),
            ("/process/env", r#"["=1"]"#),
            ("/process/env", r#"["A=\u0000"]"#),
            ("/process/user/umask", "4096"),
            (
                "/process/rlimits",
                r#"[{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]"#,
            ),
            ("/process/rlimits", r#"[{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]"#),
            ("/process/rlimits", r#"[{"type": "RLIMIT_NOFILE", "soft": 15, "hard": 64}]"#),
            ("/process/oomScoreAdj", "1001"),
            ("/process/terminal", "true"),
            ("/hooks/poststop", r#"[{"path": "hook"}]"#),
            ("/hooks/createRuntime", r#"[{"path": "/hook", "timeout": 0}]"#),
            ("/linux/maskedPaths", r#"["proc/kcore"]"#),
            ("/linux/rootfsPropagation", r#""rslave""#),
            ("/linux/rootfsPropagation", r#""public""#),
        ],
        expect![[r#"
            Unsupported: ociVersion is "2.0.0": Wherry knows version 1 of the runtime specification
            planned: /ociVersion "1.0.2-dev"
            planned: /ociVersion !
            Invalid: process is missing: a container needs a process to run
            Invalid: root is missing: a container needs a root file system
            Invalid: linux is missing: a container needs at least a mount namespace
            Unsupported: linux.namespaces has no mount namespace, and without one a container would change the node's mounts: add one
            Invalid: root.path is empty
            Invalid: process.args is empty: its first entry names the WebAssembly file to run
            Invalid: process.args is empty: its first entry names the WebAssembly file to run
            Invalid: process.args[0] contains a NUL character
            Invalid: process.args[0] is "/app.wasm#": after # it must name an export
            Invalid: process.cwd is "tmp": it must be an absolute path
            Invalid: process.cwd is "": it must be an absolute path
            Invalid: process.env[1] is not of the form NAME=VALUE
            Invalid: process.env[0] is not of the form NAME=VALUE
            Invalid: process.env[0] contains a NUL character
            Invalid: process.user.umask is 0o10000: it must be at most 0o777
            Invalid: process.rlimits[1] is a second RLIMIT_CORE: give each limit once
            Invalid: process.rlimits[0] is RLIMIT_NOFILE with a soft limit (2) over its hard one (1)
            Invalid: process.rlimits[0] is RLIMIT_NOFILE with a soft limit of 15: the process that runs a guest needs 16 descriptors of its own
            Invalid: process.oomScoreAdj is 1001: it must be between -1000 and 1000
            planned: /process/terminal true
            Invalid: hooks.poststop[0].path is "hook": it must be an absolute path
            Invalid: hooks.createRuntime[0].timeout is 0: it must be more than zero seconds
            Invalid: linux.maskedPaths[0] is "proc/kcore": it must be an absolute path
            planned: /linux/rootfsPropagation "rslave"
            Invalid: linux.rootfsPropagation is "public": it must be one of private, slave, shared and unbindable
        "#]],
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_the_path_of_their_field() {
    refusals(
        &node(),
        &[
            ("/process/args", "7"),
            ("/process/cwd", "!"),
            ("/process/user", "!"),
            ("/process/user/uid", "-1"),
            ("/process/capabilities/bounding", r#"["CAP_KILL", "CAP_FLY"]"#),
            ("/process/rlimits", r#"[{"type": "RLIMIT_WINGS", "soft": 1, "hard": 1}]"#),
            ("/linux/namespaces", r#"[{"type": "mount"}, {"type": "universe"}]"#),
            ("/linux/resources/memory/limit", r#""64M""#),
            ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_SHRUG"}"#),
            ("/mounts", r#"{"destination": "/x"}"#),
        ],
        expect![[r#"
            Invalid: process.args can't be read: invalid type: integer `7`, expected a sequence at line 1 column 83
            Invalid: process can't be read: missing field `cwd` at line 1 column 121
            Invalid: process can't be read: missing field `user` at line 1 column 106
            Invalid: process.user.uid can't be read: invalid value: integer `-1`, expected u32 at line 1 column 130
            Invalid: process.capabilities.bounding[1] can't be read: no variant for CAP_FLY (converted to FLY) at line 1 column 145
            Invalid: process.rlimits[0].type can't be read: unknown variant `RLIMIT_WINGS`, expected one of `RLIMIT_CPU`, `RLIMIT_FSIZE`, `RLIMIT_DATA`, `RLIMIT_STACK`, `RLIMIT_CORE`, `RLIMIT_RSS`, `RLIMIT_NPROC`, `RLIMIT_NOFILE`, `RLIMIT_MEMLOCK`, `RLIMIT_AS`, `RLIMIT_LOCKS`, `RLIMIT_SIGPENDING`, `RLIMIT_MSGQUEUE`, `RLIMIT_NICE`, `RLIMIT_RTPRIO`, `RLIMIT_RTTIME` at line 1 column 157
            Invalid: linux.namespaces[1].type can't be read: unknown variant `universe`, expected one of `mount`, `cgroup`, `uts`, `ipc`, `user`, `pid`, `network`, `time` at line 1 column 59
            Invalid: linux.resources.memory.limit can't be read: invalid type: string "64M", expected i64 at line 1 column 78
            Invalid: linux.seccomp.defaultAction can't be read: unknown variant `SCMP_ACT_SHRUG`, expected one of `SCMP_ACT_KILL`, `SCMP_ACT_KILL_THREAD`, `SCMP_ACT_KILL_PROCESS`, `SCMP_ACT_TRAP`, `SCMP_ACT_ERRNO`, `SCMP_ACT_NOTIFY`, `SCMP_ACT_TRACE`, `SCMP_ACT_LOG`, `SCMP_ACT_ALLOW` at line 1 column 85
            Invalid: mounts can't be read: invalid type: map, expected a sequence at line 1 column 52
        "#]],
    );
    let broken = plan("{", "", &node()).expect_err("no JSON");
    expect!["config.json can't be read: EOF while parsing an object at line 1 column 1"]
        .assert_eq(&broken.to_string());
}

#[test]
fn what_wherry_cannot_honour_is_refused_by_name() {
    refusals(
        &node(),
        &[
            ("/vm", r#"{"kernel": {"path": "/k"}}"#),
            ("/windows", r#"{"layerFolders": []}"#),
            ("/solaris", "{}"),
            ("/zos", "{}"),
            ("/process/commandLine", r#""dir""#),
            ("/process/user/username", r#""ContainerUser""#),
            ("/process/scheduler", r#"{"policy": "SCHED_FIFO", "priority": 1}"#),
            ("/process/ioPriority", r#"{"class": "IOPRIO_CLASS_IDLE", "priority": 0}"#),
            ("/process/execCPUAffinity", r#"{"initial": "0"}"#),
            ("/process/apparmorProfile", r#""cri-containerd.apparmor.d""#),
            ("/process/apparmorProfile", r#""unconfined""#),
            ("/process/selinuxLabel", r#""system_u:system_r:container_t:s0""#),
            ("/linux/intelRdt", r#"{"closID": "a"}"#),
            ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND", "nodes": "0"}"#),
            ("/linux/netDevices", r#"{"eth0": {}}"#),
            ("/linux/netDevices", "{}"),
            ("/linux/timeOffsets", r#"{"monotonic": {"secs": 1}}"#),
            ("/linux/personality", r#"{"domain": "LINUX32"}"#),
            ("/linux/personality", r#"{"domain": "LINUX", "flags": ["X"]}"#),
            ("/linux/personality", r#"{"domain": "LINUX"}"#),
            ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l"}"#),
            (
                "/linux/seccomp",
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}]}"#,
            ),
        ],
        expect![[r#"
            Unsupported: vm asks for a virtual machine: Wherry runs containers only
            Unsupported: windows is for Windows: Wherry runs on Linux only
            Unsupported: solaris is for Solaris: Wherry runs on Linux only
            Unsupported: zos is for z/OS: Wherry runs on Linux only
            Unsupported: process.commandLine is for Windows: use process.args
            Unsupported: process.user.username is for Windows: use process.user.uid
            Unsupported: process.scheduler is not supported: leave the scheduling policy out
            Unsupported: process.ioPriority is not supported: leave the I/O priority out
            planned: /process/execCPUAffinity {"initial": "0"}
            Unsupported: process.apparmorProfile is "cri-containerd.apparmor.d", but AppArmor is not enabled on this node: leave it out
            planned: /process/apparmorProfile "unconfined"
            Unsupported: process.selinuxLabel is "system_u:system_r:container_t:s0", but SELinux is not enabled on this node: leave it out
            Unsupported: linux.intelRdt is not supported: leave Intel RDT out
            Unsupported: linux.memoryPolicy is not supported: leave the NUMA policy out
            Unsupported: linux.netDevices is not supported: let a CNI plugin move the network device
            planned: /linux/netDevices {}
            Unsupported: linux.timeOffsets is not supported: guests see the clocks of the node
            Unsupported: linux.personality.domain is LINUX32: guests have no use for a 32-bit host, leave it out
            Unsupported: linux.personality.flags is not supported: leave it out
            planned: /linux/personality {"domain": "LINUX"}
            Unsupported: linux.seccomp.listenerPath is not supported: use a profile without SCMP_ACT_NOTIFY
            Unsupported: linux.seccomp uses SCMP_ACT_NOTIFY, which is not supported: use a profile without it
        "#]],
    );
}

#[test]
fn namespaces_and_what_needs_them() {
    const MOUNT: &str = r#"{"type": "mount"}"#;
    let with = |more: &str| format!("[{MOUNT}, {more}]");
    refusals(
        &node(),
        &[
            ("/linux/namespaces", &with(r#"{"type": "pid"}, {"type": "pid", "path": "/x"}"#)),
            ("/linux/namespaces", &with(r#"{"type": "pid", "path": "x"}"#)),
            ("/linux/namespaces", r#"[{"type": "mount", "path": "/proc/1/ns/mnt"}]"#),
            ("/linux/namespaces", &with(r#"{"type": "user"}"#)),
            ("/linux/uidMappings", r#"[{"containerID": 0, "hostID": 1, "size": 1}]"#),
            ("/hostname", r#""web""#),
            ("/domainname", r#""example.org""#),
            ("/linux/sysctl", r#"{"net.ipv4.ip_forward": "1"}"#),
            ("/linux/sysctl", r#"{"net/ipv4/conf/eth0.1/rp_filter": "1"}"#),
            ("/linux/sysctl", r#"{"kernel.shmmax": "1"}"#),
            ("/linux/sysctl", r#"{"fs.mqueue.msg_max": "1"}"#),
            ("/linux/sysctl", r#"{"user.max_user_namespaces": "1"}"#),
            ("/linux/sysctl", r#"{"kernel.hostname": "x"}"#),
            ("/linux/sysctl", r#"{"kernel.domainname": "x"}"#),
            ("/linux/sysctl", r#"{"vm.swappiness": "1"}"#),
            ("/linux/sysctl", r#"{"net/../vm/swappiness": "1"}"#),
            ("/linux/sysctl", r#"{"net.//.kernel.core_pattern": "1"}"#),
            ("/linux/sysctl", r#"{"net./.kernel.core_pattern": "1"}"#),
            ("/linux/sysctl", r#"{"net/./core/somaxconn": "1"}"#),
            ("/linux/sysctl", r#"{"net..core.somaxconn": "1"}"#),
        ],
        expect![[r#"
            Invalid: linux.namespaces[2] is a second pid namespace: give each kind once
            Invalid: linux.namespaces[1].path is "x": it must be an absolute path
            Unsupported: linux.namespaces[0] joins another mount namespace, whose mounts a container would change: leave its path out
            Invalid: linux.uidMappings is empty, but linux.namespaces asks for a new user namespace
            Invalid: linux.uidMappings needs a user namespace in linux.namespaces
            Invalid: hostname is "web", which needs a uts namespace in linux.namespaces
            Invalid: domainname is "example.org", which needs a uts namespace in linux.namespaces
            Invalid: linux.sysctl[net.ipv4.ip_forward] would change the node: it needs a network namespace in linux.namespaces
            Invalid: linux.sysctl[net/ipv4/conf/eth0.1/rp_filter] would change the node: it needs a network namespace in linux.namespaces
            Invalid: linux.sysctl[kernel.shmmax] would change the node: it needs an ipc namespace in linux.namespaces
            Invalid: linux.sysctl[fs.mqueue.msg_max] would change the node: it needs an ipc namespace in linux.namespaces
            Invalid: linux.sysctl[user.max_user_namespaces] would change the node: it needs a user namespace in linux.namespaces
            Invalid: linux.sysctl[kernel.hostname] is what the field hostname is for
            Invalid: linux.sysctl[kernel.domainname] would change the node: it needs a uts namespace in linux.namespaces
            Invalid: linux.sysctl[vm.swappiness] is not kept apart by any namespace: it would change the node
            Invalid: linux.sysctl[net/../vm/swappiness] is no path below /proc/sys
            Invalid: linux.sysctl[net.//.kernel.core_pattern] is no path below /proc/sys
            Invalid: linux.sysctl[net./.kernel.core_pattern] is no path below /proc/sys
            Invalid: linux.sysctl[net/./core/somaxconn] is no path below /proc/sys
            Invalid: linux.sysctl[net..core.somaxconn] is no path below /proc/sys
        "#]],
    );
}

#[test]
fn mounts_that_cannot_be() {
    refusals(
        &node(),
        &[
            ("/mounts", r#"[{"destination": "", "type": "tmpfs"}]"#),
            ("/mounts", r#"[{"destination": "/a"}]"#),
            ("/mounts", r#"[{"destination": "/a", "type": "bind"}]"#),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "size=1"]}]"#,
            ),
            ("/mounts", r#"[{"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}]"#),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["rbind", "ridmap"]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}], "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "type": "tmpfs", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "tmpcopyup"]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "rslave", "shared"]}]"#,
            ),
            (
                "/mounts",
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "sync", "ro", "async", "remount"]}]"#,
            ),
            ("/mounts", r#"[{"destination": "/a\u0000b", "source": "/b", "options": ["bind"]}]"#),
            ("/mounts", r#"[{"destination": "/a", "type": "tmpfs", "options": ["size=1\u0000"]}]"#),
        ],
        expect![[r#"
            Invalid: mounts[0].destination is empty: it must be an absolute path
            Invalid: mounts[0] (/a) has neither a type nor the option bind
            Invalid: mounts[0] (/a) is a bind mount without a source
            Invalid: mounts[0] (/a) is a bind mount with options for a file system (size=1): leave them out
            Invalid: mounts[0] (/a) is to be id-mapped without uidMappings and gidMappings, and the container has no user namespace whose mappings could be taken
            Invalid: mounts[0] (/a) is to be id-mapped without uidMappings and gidMappings, and the container has no user namespace whose mappings could be taken
            Invalid: mounts[0] (/a) has mappings of users or of groups alone: give uidMappings and gidMappings
            Invalid: mounts[0] (/a).uidMappings[0] has a size of 0, which maps no range of ids
            Invalid: mounts[0] (/a) is id-mapped, which only a bind mount can be
            Invalid: mounts[0] (/a) asks for tmpcopyup on "": it works on tmpfs only
            Invalid: mounts[0] (/a) asks for two propagations, Slave and Shared: name one
            Invalid: mounts[0] (/a) is a bind mount with options for a file system (sync,remount): leave them out
            Invalid: mounts[0] contains a NUL character
            Invalid: mounts[0] (/a) contains a NUL character
        "#]],
    );
}

#[test]
fn devices_and_limits_that_cannot_be() {
    let cases = [
        ("/linux/devices", r#"[{"path": "dev/x", "type": "c", "major": 1, "minor": 1}]"#),
        ("/linux/devices", r#"[{"path": "/dev/x", "type": "a"}]"#),
        ("/linux/resources/devices", r#"[{"allow": true}]"#),
        ("/linux/resources/devices", r#"[{"allow": true, "access": "rx"}]"#),
        ("/linux/resources/devices", r#"[{"allow": true, "access": "r", "type": "p"}]"#),
        ("/linux/resources/memory/kernel", "1"),
        ("/linux/resources/memory/useHierarchy", "false"),
        ("/linux/resources/unified", r#"{"memory.high": "1"}"#),
        ("/linux/resources/cpu/cpus", r#""3-1""#),
        ("/linux/resources/cpu/cpus", r#""all""#),
        ("/linux/cgroupsPath", r#""/""#),
        ("/linux/cgroupsPath", r#""/a/../..""#),
        ("/linux/resources/memory/disableOOMKiller", "true"),
        ("/linux/resources/memory/swappiness", "1"),
        ("/linux/resources/memory", r#"{"limit": 10, "swap": 5}"#),
        ("/linux/resources/cpu/realtimeRuntime", "5"),
        ("/linux/resources/network/classID", "5"),
        ("/linux/resources/blockIO/leafWeight", "5"),
    ];
    refusals(
        &node(),
        &cases,
        expect![[r#"
        Invalid: linux.devices[0].path is "dev/x": it must be an absolute path
        Invalid: linux.devices[0].type is "a": a node is one of c, b, u and p
        Invalid: linux.resources.devices[0].access is "": it must be some of the letters r, w and m
        Invalid: linux.resources.devices[0].access is "rx": it must be some of the letters r, w and m
        Invalid: linux.resources.devices[0].type is not one of a, b and c
        Unsupported: linux.resources.memory.kernel is obsolete: kernel memory counts as memory
        Unsupported: linux.resources.memory.useHierarchy is false: memory is always hierarchical
        Unsupported: linux.resources.unified needs cgroup v2, which this node does not have
        Invalid: linux.resources.cpu.cpus is "3-1": it must be a list such as 0-3,7
        Invalid: linux.resources.cpu.cpus is "all": it must be a list such as 0-3,7
        Invalid: linux.cgroupsPath is "/", the root: name a cgroup of the container's own
        Invalid: linux.cgroupsPath is "/a/../..", the root: name a cgroup of the container's own
        planned: /linux/resources/memory/disableOOMKiller true
        planned: /linux/resources/memory/swappiness 1
        planned: /linux/resources/memory {"limit": 10, "swap": 5}
        planned: /linux/resources/cpu/realtimeRuntime 5
        planned: /linux/resources/network/classID 5
        planned: /linux/resources/blockIO/leafWeight 5
    "#]],
    );
    let v2 = Facts { cgroup: CgroupVersion::V2, ..node() };
    refusals(
        &v2,
        &cases[12..],
        expect![[r#"
        Unsupported: linux.resources.memory.disableOOMKiller needs cgroup v1, which this node does not have
        Unsupported: linux.resources.memory.swappiness needs cgroup v1, which this node does not have
        Invalid: linux.resources.memory.swap is 5, less than the memory limit of 10: it is the sum of memory and swap
        Unsupported: linux.resources.cpu.realtimeRuntime needs cgroup v1, which this node does not have
        Unsupported: linux.resources.network.classID needs cgroup v1, which this node does not have
        Unsupported: linux.resources.blockIO.leafWeight needs cgroup v1, which this node does not have
    "#]],
    );
}

#[test]
fn more_groups_than_a_process_may_have_are_refused() {
    let refused = |groups: u32| {
        let groups = serde_json::to_string(&(0..groups).collect::<Vec<_>>()).unwrap();
        plan(&changed("/process/user/additionalGids", &groups), "", &node()).err()
    };
    assert!(refused(65_536).is_none());
    assert_eq!(
        refused(65_537).unwrap().to_string(),
        "process.user.additionalGids are 65537: a process has at most 65536"
    );
}
