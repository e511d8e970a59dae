//! What is wrong with what lies on the disk: programs, the cache, and what is left of containers.

use std::path::PathBuf;

use expect_test::expect;

use super::check;
use crate::doctor::facts::{CacheState, Facts, Installed, Leftovers, Program, Room};

#[test]
fn programs_that_do_not_belong_together() {
    let program = |name: &'static str, program: Program| {
        move |facts: &mut Facts| {
            let all = &mut facts.installed.get_mut("wherry").expect("ours").programs;
            all.iter_mut().filter(|one| one.0 == name).for_each(|one| one.1 = program.clone());
        }
    };
    check(
        |facts| {
            let nowhere = Installed { shim: None, programs: Vec::new() };
            facts.installed.insert("wherry".into(), nowhere);
        },
        expect![[r#"
            fail  programs                containerd does not find the shim of the handler wherry: it looks in /usr/local/bin, /usr/bin
                                          → install the programs in one of these folders (/usr/local/bin is usual)
            1 failed
        "#]],
    );
    check(
        program("wasmbox.wasm", Program::Missing),
        expect![[r#"
        fail  programs                wasmbox.wasm is not beside the shim of the handler wherry, in /usr/local/bin
                                      → install wasmbox.wasm there: the four programs belong together
        1 failed
    "#]],
    );
    check(
        program("wherry-guest", Program::Version("0.0.9".into())),
        expect![[r#"
        fail  programs                /usr/local/bin/wherry-guest is of version 0.0.9, and this program of 0.1.0
                                      → install all four of one version: they speak to each other
        1 failed
    "#]],
    );
    check(
        program("wherry", Program::Unusable("Exec format error".into())),
        expect![[r#"
        fail  programs                /usr/local/bin/wherry can't be used: Exec format error
                                      → install wherry of version 0.1.0 for this machine there
        1 failed
    "#]],
    );
    check(
        |facts| facts.runc = None,
        expect![[r#"
        warn  runc                    no runc where containerd looks: sidecars, init and debug containers that are not Wasm do not start
                                      → install runc; without it, Wasm is all that runs under Wherry
        nothing failed, 1 to look at
    "#]],
    );
}

#[test]
fn a_cache_that_cannot_be_used_or_has_been_damaged() {
    let cache = |state: CacheState| move |facts: &mut Facts| facts.caches[0].state = state;
    let seen = |damaged: &[&str]| CacheState::Seen {
        entries: 9,
        bytes: 1 << 20,
        damaged: damaged.iter().map(|one| (*one).to_owned()).collect(),
    };
    check(
        cache(CacheState::Absent),
        expect![[r#"
        all is well
    "#]],
    );
    check(
        cache(CacheState::Unusable("/var/lib/wherry/cache is writable by others".into())),
        expect![[r#"
            fail  cache                   /var/lib/wherry/cache is writable by others: no Wasm container starts
                                          → chown root: /var/lib/wherry/cache && chmod 0700 /var/lib/wherry/cache, or rm -r /var/lib/wherry/cache: it is filled again
            1 failed
        "#]],
    );
    check(
        cache(seen(&["a", "b", "c", "d", "e", "f"])),
        expect![[r#"
        warn  cache                   /var/lib/wherry/cache had 6 damaged of 9, which are removed: a, b, c, d, e and 1 more
                                      → nothing: they are compiled again when they are wanted. If it happens again, look at the disk (dmesg)
        nothing failed, 1 to look at
    "#]],
    );
}

/// What is compiled starts all the same, and what is not does not.
#[test]
fn a_cache_that_takes_no_more() {
    let room = |edit: fn(&mut Room)| {
        move |facts: &mut Facts| facts.caches[0].room.iter_mut().for_each(edit)
    };
    check(
        room(|room| room.bytes = Some(1 << 20)),
        expect![[r#"
        warn  cache                   /var/lib/wherry/cache has 1.0 MiB of room
                                      → make room on its disk, or wherry cache prune --max-bytes N
        nothing failed, 1 to look at
    "#]],
    );
    check(
        room(|room| (room.bytes, room.inodes) = (None, None)),
        expect![[r#"
        all is well
    "#]],
    );
    check(
        room(|room| room.inodes = Some(4)),
        expect![[r#"
        all is well
    "#]],
    );
    check(
        room(|room| room.read_only = true),
        expect![[r#"
        fail  cache                   /var/lib/wherry/cache is on a file system that is read-only: no program starts that is not compiled yet
                                      → mount its file system for writing: findmnt -T PATH names it, and dmesg tells whether the kernel made it read-only
        1 failed
    "#]],
    );
    check(
        room(|room| room.bytes = Some(4096)),
        expect![[r#"
        fail  cache                   /var/lib/wherry/cache is on a disk that is full: no program starts that is not compiled yet
                                      → make room on it (df PATH)
        1 failed
    "#]],
    );
    check(
        room(|room| room.inodes = Some(0)),
        expect![[r#"
        fail  cache                   /var/lib/wherry/cache is on a file system that takes no more files: no program starts that is not compiled yet
                                      → remove files from it (df -i PATH), or make it anew with more inodes
        1 failed
    "#]],
    );
    check(
        |facts| {
            facts.caches[0].state = CacheState::Absent;
            room(|room| room.read_only = true)(facts);
        },
        expect![[r#"
            fail  cache                   /var/lib/wherry/cache is on a file system that is read-only: no program starts that is not compiled yet
                                          → mount its file system for writing: findmnt -T PATH names it, and dmesg tells whether the kernel made it read-only
            1 failed
        "#]],
    );
}

#[test]
fn what_is_left() {
    let path = |text: &str| vec![PathBuf::from(text)];
    check(
        |facts| {
            facts.leftovers = Leftovers {
                bundles: vec![("k8s.io".into(), "c1".into())],
                shims: vec![(12, "c2".into())],
                processes: vec![(13, "wherry-guest".into())],
                mounts: path("/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1"),
                cgroups: path("/sys/fs/cgroup/kubepods/c1"),
                sockets: path("/run/containerd/s/abc"),
                unknown_sockets: Vec::new(),
            };
        },
        expect![[r#"
            warn  leftovers.bundles       containers whose shim is dead: k8s.io/c1
                                          → ctr --namespace NAMESPACE tasks delete --force ID; a restart of containerd does it for all
            warn  leftovers.shims         shims that containerd does not know any more: 12 (c2)
                                          → pkill -KILL -P PID; kill -9 PID: what runs under it first. It happens where the shim's file or its bundles are removed while containers run
            warn  leftovers.processes     processes of containers without a shim: 13 (wherry-guest)
                                          → kill -9 PID
            warn  leftovers.mounts        root file systems of containers that are gone: /run/containerd/io.containerd.runtime.v2.task/k8s.io/c1
                                          → umount PATH
            warn  leftovers.cgroups       cgroups of containers whose shim is dead: /sys/fs/cgroup/kubepods/c1
                                          → they go with the container: ctr --namespace NAMESPACE tasks delete --force ID
            warn  leftovers.sockets       sockets of shims on which nobody listens: /run/containerd/s/abc
                                          → rm PATH
            nothing failed, 6 to look at
        "#]],
    );
}

/// runc's shims leave theirs where they are killed. A node that has some is well.
#[test]
fn sockets_of_whichever_runtime_are_no_fault() {
    let unknown = vec![PathBuf::from("/run/containerd/s/abc")];
    let mut facts = super::node();
    facts.leftovers.unknown_sockets = unknown;
    let findings = super::judge(&facts);
    assert!(findings.iter().all(|finding| finding.level.name() == "ok"), "{findings:?}");
    let told = findings.iter().find(|finding| finding.check == "sockets.unknown");
    expect!["for information: sockets on which no shim listens, of whichever runtime; they do no harm: /run/containerd/s/abc"].assert_eq(told.map_or("", |finding| &finding.what));
}
