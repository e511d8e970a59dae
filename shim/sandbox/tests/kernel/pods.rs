//! Namespaces of a pod that a thread holds.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use oci_spec::runtime::LinuxNamespaceType as Kind;
use wherry_core::plan::Namespace;
use wherry_core::spec::pod::Thread;
use wherry_sandbox::pod::{hold, mount_shm, owner_of};

use crate::rig::Rig;

fn of(kinds: &[Kind]) -> Thread {
    let namespaces = kinds.iter().map(|kind| Namespace { kind: *kind, path: None }).collect();
    Thread { namespaces, hostname: None, sysctl: Default::default() }
}

fn namespace(pid: u32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("there")
}

/// A network namespace, for as long as the process lives that this returns.
fn network() -> (std::process::Child, String) {
    assert!(rustix::process::geteuid().is_root(), "namespaces need root: run the tests as root");
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "sh", "-c", "echo; exec cat"]);
    let command = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("unshare (util-linux)");
    let mut ready = [0];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut ready).expect("a line");
    let path = format!("/proc/{}/ns/net", child.id());
    (child, path)
}

#[test]
fn a_thread_is_in_namespaces_of_its_own_and_nobody_else() {
    let (mut keeper, path) = network();
    let mut wanted = of(&[Kind::Uts, Kind::Ipc]);
    wanted.namespaces.push(Namespace { kind: Kind::Network, path: Some(path.clone().into()) });
    wanted.hostname = Some("web-0".into());
    wanted.sysctl = [("net.core.somaxconn", "321"), ("kernel.shm_rmid_forced", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let us = std::process::id();
    let before = ["net", "ipc", "uts", "pid", "mnt"].map(|kind| namespace(us, kind));
    let held = hold(&wanted).expect("held");
    assert_ne!(held.id, us);
    for kind in ["ipc", "uts"] {
        assert_ne!(namespace(held.id, kind), namespace(us, kind), "{kind}");
    }
    assert_eq!(namespace(held.id, "net"), fs::read_link(&path).expect("there"));
    assert_eq!(["net", "ipc", "uts", "pid", "mnt"].map(|kind| namespace(us, kind)), before);
    // As a container of the pod sees it.
    let id = held.id.to_string();
    let seen = Command::new("nsenter")
        .args(["-t", &id, "-n", "-i", "-u", "--", "sh", "-c"])
        .arg("hostname; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced")
        .output()
        .expect("nsenter (util-linux)");
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "web-0\n321\n1\n");
    drop(held);
    assert!(!PathBuf::from(format!("/proc/{id}")).exists(), "the thread is still there");
    keeper.kill().and_then(|()| keeper.wait()).expect("ended");
}

#[test]
fn what_cannot_be_held_is_told_and_no_thread_stays() {
    let threads = || fs::read_dir("/proc/self/task").expect("there").count();
    let before = threads();
    let mut wanted = of(&[Kind::Ipc]);
    wanted.sysctl = [("kernel.shmmni".to_owned(), "no number".to_owned())].into();
    let told = hold(&wanted).expect_err("no setting").sentence();
    assert!(told.starts_with("setting linux.sysctl kernel.shmmni = no number"), "{told}");
    let network = |path: &str| Thread {
        namespaces: vec![Namespace { kind: Kind::Network, path: Some(path.into()) }],
        sysctl: [("net.core.somaxconn".to_owned(), "1".to_owned())].into(),
        ..of(&[])
    };
    let told = hold(&network("/nowhere")).expect_err("no namespace").sentence();
    assert!(told.starts_with("opening the network namespace /nowhere of the pod"), "{told}");
    let told = hold(&network("/proc/self/ns/net")).expect_err("the node's").sentence();
    assert!(told.contains("would change the node"), "{told}");
    // Other tests may end theirs meanwhile.
    assert!(threads() <= before + 8, "threads stay");
}

/// What containers name in their specs, `/proc/<the thread>/ns`.
#[test]
fn a_guest_joins_what_a_thread_holds() {
    let mut wanted = of(&[Kind::Uts, Kind::Ipc]);
    wanted.hostname = Some("of-the-pod".into());
    let held = hold(&wanted).expect("held");
    let mut rig = Rig::new();
    rig.sandbox.hostname = None;
    for one in &mut rig.sandbox.namespaces {
        let file = match one.kind {
            Kind::Uts => "uts",
            Kind::Ipc => "ipc",
            _ => continue,
        };
        one.path = Some(format!("/proc/{}/ns/{file}", held.id).into());
    }
    assert_eq!(rig.run(&["hostname"]), "hostname: of-the-pod\n");
}

#[test]
fn the_shared_memory_of_a_pod_is_as_large_as_it_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    mount_shm(folder.path(), 1 << 20).expect("mounted");
    let stat = rustix::fs::statvfs(folder.path()).expect("there");
    wherry_sandbox::mounts::unmount_rootfs(folder.path()).expect("unmounted");
    assert_eq!(stat.f_blocks * stat.f_frsize, 1 << 20);
}

#[test]
fn the_owner_of_a_network_is_found() {
    let (mut keeper, path) = network();
    let owner = owner_of(path.as_ref()).expect("there");
    let (theirs, ours) = (rustix::fs::fstat(&owner), rustix::fs::stat("/proc/self/ns/user"));
    assert_eq!(theirs.expect("open").st_ino, ours.expect("there").st_ino);
    keeper.kill().and_then(|()| keeper.wait()).expect("ended");
}
