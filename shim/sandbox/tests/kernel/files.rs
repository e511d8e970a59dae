//! What a guest sees of files.

use std::fs;
use std::os::unix::fs::symlink;

use expect_test::expect;
use oci_spec::runtime::LinuxNamespaceType as Kind;
use wherry_core::plan::{MountFlags, MountWhat, Namespace, Preopen, Propagation};

use crate::rig::{Rig, bind, filesystem};

#[test]
fn the_default_dev_is_complete() {
    let told = Rig::new().run(&[
        "ls /dev",
        "stat /dev/null",
        "stat /dev/ptmx",
        "stat /dev/stdout",
        "write /dev/null",
    ]);
    // As runc links it where the node has it.
    let kcore = fs::exists("/proc/kcore").unwrap();
    let told = if kcore { told.replace("ls /dev: core ", "ls /dev: ") } else { told };
    expect![[r#"
        ls /dev: fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero
        stat /dev/null: char 666 0:0 1:3
        stat /dev/ptmx: -> pts/ptmx
        stat /dev/stdout: -> /proc/self/fd/1
        write /dev/null: written
    "#]]
    .assert_eq(&told);
}

#[test]
fn masked_and_readonly_paths_hold() {
    expect![[r#"
        cat /proc/timer_list: 
        ls /sys/firmware: 
        write /proc/sys/kernel/hostname: read-only filesystem or storage medium
        create /sys/x: read-only filesystem or storage medium
    "#]]
    .assert_eq(&Rig::new().run(&[
        "cat /proc/timer_list",
        "ls /sys/firmware",
        "write /proc/sys/kernel/hostname",
        "create /sys/x",
    ]));
}

#[test]
fn folders_and_files_are_bound_with_their_options() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "host").unwrap();
    let mut rig = Rig::new();
    let mut readonly = bind(host.path(), "/data/ro");
    readonly.flags = MountFlags { set: libc::MS_RDONLY, clear: 0 };
    rig.mount(bind(host.path(), "/data/rw")).mount(readonly);
    rig.mount(bind(host.path().join("file"), "/etc/one/file"));
    expect![[r#"
        cat /data/rw/file: host
        create /data/rw/new: created
        cat /data/ro/new: x
        create /data/ro/other: read-only filesystem or storage medium
        cat /etc/one/file: host
    "#]]
    .assert_eq(&rig.run(&[
        "cat /data/rw/file",
        "create /data/rw/new",
        "cat /data/ro/new",
        "create /data/ro/other",
        "cat /etc/one/file",
    ]));
}

#[test]
fn recursive_read_only_reaches_mounts_below() {
    let host = tempfile::tempdir().unwrap();
    let below = host.path().join("below");
    fs::create_dir(&below).unwrap();
    rustix::mount::mount("tmpfs", &below, "tmpfs", rustix::mount::MountFlags::empty(), None)
        .unwrap();
    let mut rig = Rig::new();
    let mut shallow = bind(host.path(), "/data/shallow");
    shallow.flags.set = libc::MS_RDONLY;
    let mut deep = bind(host.path(), "/data/deep");
    deep.recursive.set = libc::MS_RDONLY;
    rig.mount(shallow).mount(deep);
    let said = rig.run(&[
        "create /data/shallow/x",
        "create /data/shallow/below/x",
        "create /data/deep/x",
        "create /data/deep/below/y",
    ]);
    rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
    expect![[r#"
        create /data/shallow/x: read-only filesystem or storage medium
        create /data/shallow/below/x: created
        create /data/deep/x: read-only filesystem or storage medium
        create /data/deep/below/y: read-only filesystem or storage medium
    "#]]
    .assert_eq(&said);
}

#[test]
fn links_of_the_image_do_not_lead_mounts_out() {
    let (host, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new();
    symlink(outside.path(), rig.file("escape")).unwrap();
    symlink("../../../../..", rig.file("up")).unwrap();
    rig.mount(bind(host.path(), "/escape/a")).mount(bind(host.path(), "/up/b"));
    let inside = format!("ls {}", outside.path().display());
    let said = rig.run(&[&inside, "stat /b"]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(said.starts_with(&format!("{inside}: a\nstat /b: folder")), "{said}");
}

#[test]
fn a_tmpfs_copies_up_what_the_image_has() {
    let mut rig = Rig::new();
    fs::create_dir(rig.file("data/sub")).unwrap();
    fs::write(rig.file("data/sub/file"), "from image").unwrap();
    symlink("sub/file", rig.file("data/link")).unwrap();
    let mut tmpfs = filesystem("tmpfs", "/data", libc::MS_RDONLY, "size=1m");
    tmpfs.copy_up = true;
    rig.mount(tmpfs);
    expect![[r#"
        cat /data/link: from image
        create /data/x: read-only filesystem or storage medium
    "#]]
    .assert_eq(&rig.run(&["cat /data/link", "create /data/x"]));
}

#[test]
fn a_readonly_root_keeps_its_mounts_writable() {
    let mut rig = Rig::new();
    rig.sandbox.rootfs_readonly = true;
    rig.sandbox.cwd = "/made/for/cwd".into();
    expect![[r#"
        cwd: /made/for/cwd
        create /etc/x: read-only filesystem or storage medium
        create /run/x: created
        create /dev/shm/x: created
    "#]]
    .assert_eq(&rig.run(&["cwd", "create /etc/x", "create /run/x", "create /dev/shm/x"]));
}

#[test]
fn the_containers_own_cgroups_are_mounted() {
    for namespaced in [false, true] {
        let mut rig = Rig::new();
        if namespaced {
            rig.sandbox.namespaces.push(Namespace { kind: Kind::Cgroup, path: None });
        }
        let mut cgroup = filesystem("cgroup", "/sys/fs/cgroup", libc::MS_RDONLY, "");
        cgroup.what = MountWhat::Cgroup;
        rig.mount(cgroup);
        // In v2 there is one folder, in v1 one for each controller.
        let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists();
        let own = match (v2, namespaced) {
            (true, true) => "/sys/fs/cgroup".to_owned(),
            (true, false) => format!("/sys/fs/cgroup/{}", rig.id),
            (false, _) => "/sys/fs/cgroup/pids".to_owned(),
        };
        let procs = format!("cat {own}/cgroup.procs");
        let said = rig.run(&["ls /sys/fs/cgroup", &procs, "create /sys/fs/cgroup/x"]);
        assert!(said.contains("memory"), "{said}");
        assert!(said.contains("cgroup.procs: 1\n"), "{said}");
        assert!(said.ends_with("/x: read-only filesystem or storage medium\n"), "{said}");
    }
}

#[test]
fn the_guest_does_not_find_its_own_process() {
    let mut rig = Rig::new();
    rig.mount(bind("/proc", "/data/hostproc"));
    expect![[r#"
        ls /proc/1: cmdline fd gid_map status uid_map
        ls /proc/1/fd: 
        open-rw /proc/self/mem: entity not found
        open-rw /proc/1/mem: entity not found
        open-rw /proc/thread-self/mem: entity not found
        thread-mem rw: read-only filesystem or storage medium
        open /proc/meminfo: opened
        ls /data/hostproc/self: cmdline fd gid_map status uid_map
    "#]]
    .assert_eq(&rig.run(&[
        "ls /proc/1",
        "ls /proc/1/fd",
        "open-rw /proc/self/mem",
        "open-rw /proc/1/mem",
        "open-rw /proc/thread-self/mem",
        "thread-mem rw",
        "open /proc/meminfo",
        "ls /data/hostproc/self",
    ]));
}

#[test]
fn nothing_is_mounted_into_procfs() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "mine").unwrap();
    let mut rig = Rig::new();
    symlink("/proc/sys", rig.file("innocent")).unwrap();
    rig.mount(bind(host.path(), "/innocent/kernel"));
    let said = rig.run(&[]);
    assert!(said.starts_with("refused: mounts /innocent/kernel: nothing but a procfs"), "{said}");
    let mut rig = Rig::new();
    rig.mount(bind(host.path().join("file"), "/proc/uptime"));
    assert_eq!(rig.run(&["cat /proc/uptime"]), "cat /proc/uptime: mine\n");
}

#[test]
fn mounts_of_a_shared_root_do_not_reach_the_host() {
    use rustix::mount::{MountFlags, MountPropagationFlags as Spread, UnmountFlags};
    let home = tempfile::tempdir().unwrap();
    rustix::mount::mount("tmpfs", home.path(), "tmpfs", MountFlags::empty(), None).unwrap();
    rustix::mount::mount_change(home.path(), Spread::SHARED).unwrap();
    let root = home.path().join("rootfs");
    for folder in [&root, &root.join("proc"), &root.join("dev"), &root.join("data")] {
        fs::create_dir(folder).unwrap();
    }
    for propagation in [Propagation::Shared, Propagation::Slave, Propagation::Private] {
        let mut rig = Rig::new();
        rig.sandbox.rootfs = root.clone();
        rig.sandbox.rootfs_propagation = Some(propagation);
        let created = rig.create(&["cwd"]).unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = table.lines().filter(|l| l.contains(root.to_str().unwrap())).count();
        assert_eq!(below, 0, "{propagation:?}\n{table}");
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", created.child.pid)).unwrap();
        let shared = table.lines().next().unwrap().contains(" shared:");
        assert_eq!(shared, propagation == Propagation::Shared, "{table}");
        assert_eq!(created.start_and_finish(), "cwd: /\n");
    }
    rustix::mount::unmount(home.path(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_terminal_controls_the_session_and_is_the_console() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let mut rig = Rig::new();
    rig.terminal =
        Some(rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap());
    let said = rig.run(&["stat /dev/console", "open /dev/tty"]);
    assert!(said.starts_with("stat /dev/console: char "), "{said}");
    assert!(said.contains(" 136:") && said.ends_with("open /dev/tty: opened\n"), "{said}");
}

#[test]
fn what_is_writable_in_a_read_only_volume_stays_so() {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("below")).unwrap();
    let below = host.path().join("below");
    rustix::mount::mount("tmpfs", &below, "tmpfs", rustix::mount::MountFlags::empty(), None)
        .unwrap();
    let volume = |recursive: bool| {
        let mut rig = Rig::new();
        let mut readonly = bind(host.path(), "/data/ro");
        let set = MountFlags { set: libc::MS_RDONLY, clear: 0 };
        match recursive {
            true => readonly.recursive = set,
            false => readonly.flags = set,
        }
        rig.mount(readonly);
        rig.preopens = vec![Preopen { path: "/data/ro".into(), read_only: true }];
        rig.run(&["create /data/ro/file", "create /data/ro/below/file", "preopens"])
    };
    expect![[r#"
        create /data/ro/file: read-only filesystem or storage medium
        create /data/ro/below/file: created
        [Preopen { path: "/data/ro", read_only: false }]
    "#]]
    .assert_eq(&volume(false));
    expect![[r#"
        create /data/ro/file: read-only filesystem or storage medium
        create /data/ro/below/file: read-only filesystem or storage medium
        [Preopen { path: "/data/ro", read_only: true }]
    "#]]
    .assert_eq(&volume(true));
    rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_mount_that_cannot_be_made_is_named() {
    let mut rig = Rig::new();
    rig.mount(bind("/no/such/folder", "/data"));
    expect!["refused: opening the source /no/such/folder of mounts: No such file or directory (os error 2)\n"]
        .assert_eq(&rig.run(&[]));
    let mut rig = Rig::new();
    rig.mount(filesystem("nosuchfs", "/data", 0, "a=b"));
    expect![[r#"
        refused: mounting nosuchfs on mounts /data with options "a=b" (this kernel does not know the file system): No such device (os error 19)
    "#]]
    .assert_eq(&rig.run(&[]));
}
