//! What a guest cannot do, whatever its spec says.

use expect_test::expect;

use crate::rig::Rig;

#[test]
fn sealed_code_gains_nothing() {
    let said = Rig::new().run(&[
        "unsealed mprotect-exec",
        "mmap",
        "mmap-exec",
        "mprotect-exec",
        "threads",
        "unshare-user",
        "fork",
        "ptrace",
        "bpf",
        "keyctl",
        "io_uring",
        "mknod",
        "socket",
        "socket-netlink",
        "socket-packet",
        "run /etc/name",
    ]);
    expect![[r#"
        mprotect-exec: done
        mmap: done
        mmap-exec: EACCES
        mprotect-exec: EACCES
        threads: true
        unshare-user: EPERM
        fork: EPERM
        ptrace: EPERM
        bpf: EPERM
        keyctl: EPERM
        io_uring: EPERM
        mknod: EPERM
        socket: done
        socket-netlink: EPERM
        socket-packet: EPERM
        run /etc/name: permission denied
    "#]]
    .assert_eq(&said);
}

#[test]
fn the_specs_own_filter_comes_on_top() {
    let mut rig = Rig::new();
    let spec = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["uname","socket"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"names":["sched_yield"],"action":"SCMP_ACT_ALLOW"},
        {"names":["keyctl"],"action":"SCMP_ACT_ALLOW"}]}"#;
    rig.sandbox.seccomp = Some(serde_json::from_str(spec).unwrap());
    let created = rig.create(&["uname", "socket", "sched_yield", "keyctl"]).unwrap();
    assert_eq!(created.status("Seccomp"), "2");
    assert_eq!(created.status("Seccomp_filters"), "3");
    expect![[r#"
        uname: EACCES
        socket: EACCES
        sched_yield: done
        keyctl: EPERM
    "#]]
    .assert_eq(&created.start_and_finish());
}

#[test]
fn a_spec_that_asks_an_agent_is_refused() {
    let mut rig = Rig::new();
    let spec = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x",
        "syscalls":[{"names":["uname"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    rig.sandbox.seccomp = Some(serde_json::from_str(spec).unwrap());
    expect!["refused: linux.seccomp: SCMP_ACT_NOTIFY is not supported: the guest has no agent to ask; use SCMP_ACT_ERRNO\n"]
        .assert_eq(&rig.run(&[]));
}

#[test]
fn files_move_between_folders_all_the_same() {
    // A Landlock ruleset that did not say so would forbid it.
    let rig = Rig::new();
    expect![[r#"
        create /data/x: created
        move /data/x: moved
    "#]]
    .assert_eq(&rig.run(&["create /data/x", "move /data/x"]));
}
