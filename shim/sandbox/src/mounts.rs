//! The root file system that containerd asks for: mounted by the shim, before there is a guest.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_remount, unmount,
};
use wherry_core::plan::{IdMapping, Ids, Recursive};

use crate::error::Doing;
use crate::idmap;
use crate::{Error, Result, sys};

/// One mount of containerd's `CreateTaskRequest.rootfs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootfsMount {
    pub kind: String,
    pub source: String,
    pub options: Vec<String>,
}

/// `mount(2)` takes a page of options and says EINVAL, or cuts them, beyond it.
const PAGE: usize = 4096;

/// Mounts these one over the other on `target`. Undoes everything on failure.
pub fn mount_rootfs(mounts: &[RootfsMount], target: &Path) -> Result<()> {
    for one in mounts {
        if let Err(error) = mount_one(one, target) {
            // The first failure is the one to tell.
            let _ = unmount_rootfs(target);
            return Err(error);
        }
    }
    Ok(())
}

/// Unmounts everything that is mounted on `target`, lazily. Nothing there is done already.
pub fn unmount_rootfs(target: &Path) -> Result<()> {
    loop {
        match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // No mount, or no such folder.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(errno).doing(|| format!("unmounting {}", target.display()));
            }
        }
    }
}

fn mount_one(one: &RootfsMount, target: &Path) -> Result<()> {
    let options = Options::read(&one.options)?;
    let doing = || {
        format!(
            "mounting the root file system: {} {} on {} with options {}",
            one.kind,
            one.source,
            target.display(),
            one.options.join(",")
        )
    };
    let bind = options.flags.contains(MountFlags::BIND) || one.kind == "bind";
    let ids = options.ids()?;
    if one.kind == "overlay"
        && let Some(ids) = &ids
    {
        let data = mapped_layers(&options, ids, target)?;
        let options = Options { data: data.iter().map(String::as_str).collect(), ..options };
        return plain(one, target, &options).doing(doing);
    }
    if !bind {
        plain(one, target, &options).doing(doing)?;
        return map_target(target, ids.as_ref());
    }
    let recursive = options.flags & MountFlags::REC;
    sys_mount(one, target, MountFlags::BIND | recursive, "").doing(doing)?;
    // The first call of a bind mount ignores all other flags (mount(2)).
    let rest = options.flags - MountFlags::BIND - MountFlags::REC;
    if !rest.is_empty() {
        mount_remount(target, MountFlags::BIND | rest, "").doing(doing)?;
    }
    map_target(target, ids.as_ref())
}

fn plain(one: &RootfsMount, target: &Path, options: &Options<'_>) -> rustix::io::Result<()> {
    match options.shortened() {
        Some((folder, data)) => mount_from(&folder, one, target, options.flags, &data),
        None => sys_mount(one, target, options.flags, &options.data.join(",")),
    }
}

/// Overlay takes mapped layers and maps nothing itself (containerd, `mount/mount_linux.go`,
/// `prepareIDMappedOverlay`): what they all lie in is mounted with its ids mapped, and they are named as they lie
/// there. It is mounted where the overlay will be, under which nobody sees it, and goes when that goes.
fn mapped_layers(options: &Options<'_>, ids: &Ids, target: &Path) -> Result<Vec<String>> {
    let layers = options.data.iter().find_map(|d| d.strip_prefix("lowerdir="));
    let (Some(layers), Some(common)) = (layers, layers.and_then(common_folder)) else {
        return Err(Error::Refused(
            "the root file system is an overlay without layers whose ids could be mapped".into(),
        ));
    };
    let namespace = idmap::namespace(ids)?;
    let tree =
        idmap::read_only_copy(&common, namespace.as_fd()).map_err(|e| cannot_map(&common, e))?;
    attach(&tree, target)
        .doing(|| format!("mounting the layers of the root file system on {}", target.display()))?;
    let moved = |layer: &str| {
        let inside = Path::new(layer).strip_prefix(&common).unwrap_or(Path::new(layer));
        target.join(inside).display().to_string()
    };
    let moved = layers.split(':').map(moved).collect::<Vec<_>>().join(":");
    let rest = options.data.iter().filter(|d| !d.starts_with("lowerdir=")).map(|d| (*d).to_owned());
    Ok(rest.chain([format!("lowerdir={moved}")]).collect())
}

/// Any other root is mapped as it is, over itself.
fn map_target(target: &Path, ids: Option<&Ids>) -> Result<()> {
    let Some(ids) = ids else { return Ok(()) };
    let namespace = idmap::namespace(ids)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, target, flags)
        .doing(|| format!("opening the root file system {}", target.display()))?;
    idmap::apply(&tree, namespace.as_fd(), Recursive::Yes).map_err(|e| cannot_map(target, e))?;
    attach(&tree, target).doing(|| format!("mounting the root file system on {}", target.display()))
}

/// Mounts a tree that is mounted nowhere yet.
fn attach(tree: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, target, flags)
}

fn cannot_map(path: &Path, errno: Errno) -> Error {
    let doing = format!(
        "mapping the ids of the root file system in {}{}",
        path.display(),
        idmap::hint(errno)
    );
    Error::System { doing, source: errno.into() }
}

/// The deepest folder that all layers of an overlay lie in.
fn common_folder(layers: &str) -> Option<PathBuf> {
    let mut common = Path::new(layers.split(':').next()?).parent()?;
    while !layers.split(':').all(|layer| Path::new(layer).starts_with(common)) {
        common = common.parent()?;
    }
    Some(common.to_owned())
}

fn sys_mount(
    one: &RootfsMount,
    target: &Path,
    flags: MountFlags,
    data: &str,
) -> rustix::io::Result<()> {
    let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
    mount(one.source.as_str(), target, one.kind.as_str(), flags, Some(data.as_c_str()))
}

/// Mounts as seen from `folder`. Only a thread of its own can change its folder without changing
/// everyone's; containerd (`mount/mount_linux.go` `mountAt`) forks for it.
fn mount_from(
    folder: &Path,
    one: &RootfsMount,
    target: &Path,
    flags: MountFlags,
    data: &str,
) -> rustix::io::Result<()> {
    std::thread::scope(|scope| {
        let mounting = scope.spawn(|| {
            sys::unshare(libc::CLONE_FS)?;
            rustix::process::chdir(folder)?;
            sys_mount(one, target, flags, data)
        });
        mounting.join().unwrap_or(Err(Errno::NOMEM))
    })
}

/// Options as containerd writes them, sorted into flags and what is for the file system.
struct Options<'a> {
    flags: MountFlags,
    data: Vec<&'a str>,
    uids: Option<Vec<IdMapping>>,
    gids: Option<Vec<IdMapping>>,
}

impl<'a> Options<'a> {
    /// The table of containerd's `mount/mount_linux.go` `parseMountOptions`.
    fn read(options: &'a [String]) -> Result<Options<'a>> {
        let mut read =
            Options { flags: MountFlags::empty(), data: Vec::new(), uids: None, gids: None };
        for option in options {
            let (flag, on) = match option.as_str() {
                "" | "defaults" => continue,
                "async" => (MountFlags::SYNCHRONOUS, false),
                "atime" => (MountFlags::NOATIME, false),
                "bind" => (MountFlags::BIND, true),
                "dev" => (MountFlags::NODEV, false),
                "diratime" => (MountFlags::NODIRATIME, false),
                "dirsync" => (MountFlags::DIRSYNC, true),
                "exec" => (MountFlags::NOEXEC, false),
                "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
                "noatime" => (MountFlags::NOATIME, true),
                "nodev" => (MountFlags::NODEV, true),
                "nodiratime" => (MountFlags::NODIRATIME, true),
                "noexec" => (MountFlags::NOEXEC, true),
                "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
                "norelatime" => (MountFlags::RELATIME, false),
                "nostrictatime" => (MountFlags::STRICTATIME, false),
                "nosuid" => (MountFlags::NOSUID, true),
                "rbind" => (MountFlags::BIND | MountFlags::REC, true),
                "relatime" => (MountFlags::RELATIME, true),
                "ro" => (MountFlags::RDONLY, true),
                "rw" => (MountFlags::RDONLY, false),
                "strictatime" => (MountFlags::STRICTATIME, true),
                "suid" => (MountFlags::NOSUID, false),
                "sync" => (MountFlags::SYNCHRONOUS, true),
                "loop" | "remount" => return Err(refused(option)),
                other if other.starts_with("uidmap=") => {
                    read.uids = Some(mappings(option, &other["uidmap=".len()..])?);
                    continue;
                }
                other if other.starts_with("gidmap=") => {
                    read.gids = Some(mappings(option, &other["gidmap=".len()..])?);
                    continue;
                }
                data => {
                    read.data.push(data);
                    continue;
                }
            };
            read.flags.set(flag, on);
        }
        Ok(read)
    }

    /// Whose owners the files have instead of their own (containerd's snapshotters, for a container in a user
    /// namespace).
    fn ids(&self) -> Result<Option<Ids>> {
        match (&self.uids, &self.gids) {
            (None, None) => Ok(None),
            (Some(uids), Some(gids)) => {
                Ok(Some(Ids::Mapped { uids: uids.clone(), gids: gids.clone() }))
            }
            _ => Err(Error::Refused(
                "the root file system wants the ids of users or of groups alone mapped: it must have both uidmap= \
                 and gidmap="
                    .into(),
            )),
        }
    }

    /// Overlay's options, too long for a page, with its folders named from where they all are.
    fn shortened(&self) -> Option<(PathBuf, String)> {
        let data = self.data.join(",");
        if data.len() < PAGE {
            return None;
        }
        let lower = self.data.iter().find_map(|d| d.strip_prefix("lowerdir="))?;
        let common = common_folder(lower)?;
        let short = |folder: &str| {
            let inside = Path::new(folder).strip_prefix(&common).unwrap_or(Path::new(folder));
            inside.display().to_string()
        };
        let short_option = |option: &&str| match option.strip_prefix("lowerdir=") {
            Some(all) => {
                format!("lowerdir={}", all.split(':').map(short).collect::<Vec<_>>().join(":"))
            }
            None => (*option).to_owned(),
        };
        let data = self.data.iter().map(short_option).collect::<Vec<_>>().join(",");
        Some((common, data))
    }
}

/// `container:host:size`, several with commas (containerd, `mount/mount_idmapped_linux.go`, `parseIDMapping`).
fn mappings(option: &str, given: &str) -> Result<Vec<IdMapping>> {
    let one = |mapping: &str| {
        let mut numbers = mapping.split(':').map(|number| number.parse().ok());
        let mapping = IdMapping {
            container: numbers.next()??,
            host: numbers.next()??,
            size: numbers.next()??,
        };
        numbers.next().is_none().then_some(mapping)
    };
    given.split(',').map(one).collect::<Option<_>>().ok_or_else(|| {
        Error::Refused(format!(
            "the root file system wants the mount option {option}, which is no list of container:host:size"
        ))
    })
}

fn refused(option: &str) -> Error {
    Error::Refused(format!(
        "the root file system wants the mount option {option}, which is not supported: use a \
         snapshotter that mounts folders, such as overlayfs"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn overlay(lowers: usize) -> (tempfile::TempDir, RootfsMount) {
        let home = tempfile::tempdir().unwrap();
        let layer = |n: usize| home.path().join(format!("snapshots-of-a-long-name/{n}/fs"));
        let folders: Vec<_> = (0..lowers).map(layer).collect();
        for (n, folder) in folders.iter().enumerate() {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(format!("of-{n}")), "").unwrap();
        }
        let lower: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        let (upper, work) = (home.path().join("upper"), home.path().join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let options = vec![
            "index=off".to_owned(),
            format!("workdir={}", work.display()),
            format!("upperdir={}", upper.display()),
            format!("lowerdir={}", lower.join(":")),
        ];
        (home, RootfsMount { kind: "overlay".into(), source: "overlay".into(), options })
    }

    fn is_mounted(target: &Path) -> bool {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.contains(&format!(" {} ", target.display()))
    }

    #[test]
    fn more_layers_than_a_page_of_options_are_mounted() {
        for lowers in [2, 100] {
            let (_home, mount) = overlay(lowers);
            let target = tempfile::tempdir_in("/tmp").unwrap();
            // /tmp itself may be an overlay, which cannot be an upper layer: then say so.
            mount_rootfs(std::slice::from_ref(&mount), target.path()).unwrap();
            for n in [0, lowers - 1] {
                assert!(target.path().join(format!("of-{n}")).exists());
            }
            unmount_rootfs(target.path()).unwrap();
            assert!(!is_mounted(target.path()));
        }
    }

    /// What containerd's overlayfs snapshotter asks for, for a container in a user namespace.
    #[test]
    fn the_layers_of_an_overlay_are_mapped_and_the_upper_one_is_not() {
        for lowers in [1, 100] {
            let (home, mut mount) = overlay(lowers);
            mount
                .options
                .extend(["uidmap=0:100000:65536", "gidmap=0:200000:65536"].map(String::from));
            let target = tempfile::tempdir_in("/tmp").unwrap();
            mount_rootfs(std::slice::from_ref(&mount), target.path()).unwrap();
            std::fs::write(target.path().join("new"), "").unwrap();
            let owner = |file: &str| {
                let meta = std::fs::metadata(target.path().join(file)).unwrap();
                (meta.uid(), meta.gid())
            };
            assert_eq!(owner(&format!("of-{}", lowers - 1)), (100_000, 200_000));
            assert_eq!(owner("new"), (0, 0));
            unmount_rootfs(target.path()).unwrap();
            assert!(!is_mounted(target.path()));
            assert!(home.path().join("upper/new").exists());
        }
    }

    #[test]
    fn any_other_root_is_mapped_itself() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = ["rbind", "ro", "uidmap=0:100000:1", "gidmap=0:200000:1"];
        let bind = |options: &[&str]| RootfsMount {
            kind: "bind".into(),
            source: source.path().display().to_string(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        mount_rootfs(&[bind(&options)], target.path()).unwrap();
        let meta = std::fs::metadata(target.path()).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (100_000, 200_000));
        assert!(std::fs::write(target.path().join("x"), "").is_err());
        unmount_rootfs(target.path()).unwrap();
        assert!(!is_mounted(target.path()));
        for (options, told) in [
            (&["bind", "uidmap=0:1:1"][..], "of users or of groups alone"),
            (&["bind", "uidmap=0:1", "gidmap=0:1:1"][..], "uidmap=0:1, which is no list"),
        ] {
            let refused = mount_rootfs(&[bind(options)], target.path()).unwrap_err().sentence();
            assert!(refused.contains(told), "{refused}");
            assert!(!is_mounted(target.path()));
        }
    }

    #[test]
    fn mounts_are_stacked_and_taken_off_twice() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bind = |options: &[&str]| RootfsMount {
            kind: "bind".into(),
            source: source.path().display().to_string(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        mount_rootfs(&[bind(&["rbind", "rw"]), bind(&["rbind", "ro"])], target.path()).unwrap();
        assert!(std::fs::write(target.path().join("x"), "").is_err());
        unmount_rootfs(target.path()).unwrap();
        unmount_rootfs(target.path()).unwrap();
        assert!(!is_mounted(target.path()));
        unmount_rootfs(Path::new("/nowhere/at/all")).unwrap();
    }

    #[test]
    fn a_failure_leaves_no_mount() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let good = RootfsMount {
            kind: "bind".into(),
            source: source.path().display().to_string(),
            options: vec!["bind".into()],
        };
        let bad = RootfsMount { kind: "nosuchfs".into(), ..good.clone() };
        let bad = RootfsMount { options: Vec::new(), ..bad };
        let error = mount_rootfs(&[good, bad], target.path()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
        assert!(!is_mounted(target.path()));
    }
}
