//! Id-mapped mounts: the same files, other owners.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use expect_test::expect;
use oci_spec::runtime::LinuxNamespaceType as Kind;
use wherry_core::plan::{IdMap, IdMapping, Ids, Mount, Namespace, Recursive};

use crate::rig::{Rig, bind};

/// One user and one group of the node's, shown as others.
fn shown_as(container: u32, host: u32, recursive: Recursive) -> Option<IdMap> {
    let one = |host| vec![IdMapping { container, host, size: 1 }];
    Some(IdMap { ids: Ids::Mapped { uids: one(host), gids: one(host + 1) }, recursive })
}

#[test]
fn an_id_mapped_mount_shows_other_owners_and_keeps_those_on_disk() {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("roots"), "").unwrap();
    fs::write(volume.path().join("others"), "").unwrap();
    std::os::unix::fs::chown(volume.path().join("others"), Some(5), Some(5)).unwrap();
    let mut rig = Rig::new();
    for at in ["/data", "/tmp"] {
        let mount = Mount { idmap: shown_as(0, 1000, Recursive::No), ..bind(volume.path(), at) };
        rig.mount(mount);
    }
    // What has no mapping is the overflow id's, and nobody writes in its name: root of this container has no id there
    // (EOVERFLOW).
    expect![[r#"
        stat /data/roots: file 644 1000:1001 0:0
        stat /tmp/others: file 644 65534:65534 0:0
        create /data/new: uncategorized error
    "#]]
    .assert_eq(&rig.run(&["stat /data/roots", "stat /tmp/others", "create /data/new"]));
    (rig.sandbox.user.uid, rig.sandbox.user.gid) = (1000, 1001);
    assert_eq!(rig.run(&["create /data/mine"]), "create /data/mine: created\n");
    let made = fs::metadata(volume.path().join("mine")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

#[test]
fn only_ridmap_maps_what_is_mounted_below() {
    for (recursive, owner) in [(Recursive::No, "0:0"), (Recursive::Yes, "1000:1001")] {
        let mut rig = Rig::new();
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("below")).unwrap();
        let below = Below::of(&volume.path().join("below"));
        let idmap = shown_as(0, 1000, recursive);
        rig.mount(Mount { idmap, ..bind(volume.path(), "/data") });
        let said = rig.run(&["stat /data", "stat /data/below"]);
        drop(below);
        assert_eq!(
            said,
            format!(
                "stat /data: folder 755 1000:1001 0:0\nstat /data/below: folder 1777 {owner} 0:0\n"
            )
        );
    }
}

/// A tmpfs there, for a while.
struct Below(PathBuf);

impl Below {
    fn of(folder: &Path) -> Below {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", folder, "tmpfs", flags, None).unwrap();
        Below(folder.to_owned())
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// As the kubelet has it for `hostUsers: false`: root of the pod owns its volumes.
#[test]
fn a_user_namespace_owns_its_id_mapped_volumes() {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("roots"), "").unwrap();
    let ids = vec![IdMapping { container: 0, host: 100_000, size: 65_536 }];
    let mut rig = Rig::new();
    std::os::unix::fs::chown(rig.rootfs.path(), Some(100_000), Some(100_000)).unwrap();
    rig.sandbox.namespaces.push(Namespace { kind: Kind::User, path: None });
    (rig.sandbox.uid_mappings, rig.sandbox.gid_mappings) = (ids.clone(), ids.clone());
    let ids = Ids::Mapped { uids: ids.clone(), gids: ids };
    let idmap = Some(IdMap { ids, recursive: Recursive::Yes });
    rig.mount(Mount { idmap, ..bind(volume.path(), "/data") });
    expect![[r#"
        stat /data/roots: file 644 0:0 0:0
        create /data/new: created
    "#]]
    .assert_eq(&rig.run(&["stat /data/roots", "create /data/new"]));
    assert_eq!(fs::metadata(volume.path().join("new")).unwrap().uid(), 0);
}

#[test]
fn a_file_system_that_cannot_map_ids_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.mount(Mount { idmap: shown_as(0, 1000, Recursive::No), ..bind("/proc/fs", "/data") });
    let said = rig.run(&[]);
    assert!(said.starts_with("refused: mapping the ids of mounts /data (this kernel's file system there has no id-mapped mounts"), "{said}");
}
