//! Paths inside a root that someone else filled: symlinks of an image never lead out of it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Result;
use crate::error::Doing;

/// Opens `path` (absolute or relative) as if `root` were `/`: `..` and symlinks stay inside.
///
/// `RESOLVE_NO_MAGICLINKS` because a link of procfs, such as `/proc/1/root`, does lead out.
pub fn open_in_root(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
) -> std::result::Result<OwnedFd, Errno> {
    loop {
        let opened = rustix::fs::openat2(
            &root,
            if path.as_os_str().is_empty() { Path::new(".") } else { path },
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        // openat2(2): EAGAIN when a rename or mount elsewhere raced with `..`; try again.
        if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
            return opened;
        }
    }
}

/// What is made where a path is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Folder,
    File,
}

/// Opens `path` inside `root` without access (`O_PATH`), making what is missing: folders 0755,
/// and at its end a folder or an empty file.
pub fn open_or_make(root: impl AsFd, path: &Path, missing: Missing) -> Result<OwnedFd> {
    let root = root.as_fd();
    match open_in_root(root, path, OFlags::PATH) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) => {}
        Err(errno) => {
            return Err(errno).doing(|| format!("opening {} in the root", path.display()));
        }
    }
    match make_last(root, path, missing) {
        Ok(made) => Ok(made),
        // More than the last is missing, or a symlink leads to nowhere.
        Err(_) => make(root, path, missing, 0),
    }
}

/// The usual case: only the last name is missing.
fn make_last(
    root: rustix::fd::BorrowedFd<'_>,
    path: &Path,
    missing: Missing,
) -> std::result::Result<OwnedFd, Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let folder = open_in_root(root, parent, OFlags::PATH)?;
    make_in(&folder, Path::new(name), missing)?;
    open_in_root(root, path, OFlags::PATH)
}

fn make_in(folder: &OwnedFd, name: &Path, missing: Missing) -> std::result::Result<(), Errno> {
    match missing {
        Missing::Folder => rustix::fs::mkdirat(folder, name, Mode::from(0o755)),
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(folder, name, flags, Mode::from(0o644)).map(drop)
        }
    }
}

fn make(
    root: rustix::fd::BorrowedFd<'_>,
    path: &Path,
    missing: Missing,
    depth: u8,
) -> Result<OwnedFd> {
    let doing = |path: &Path| format!("making {} in the root file system", path.display());
    let names: Vec<_> = path
        .components()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .collect();
    let mut walked = PathBuf::new();
    let mut folder = open_in_root(root, Path::new("."), OFlags::PATH).doing(|| doing(path))?;
    for (at, name) in names.iter().enumerate() {
        let last = at + 1 == names.len();
        walked.push(name);
        match open_in_root(root, &walked, OFlags::PATH) {
            Ok(fd) => folder = fd,
            Err(Errno::NOENT) => {
                let name: &Path = name.as_ref();
                // A symlink to nowhere: what it points to is made, inside the root.
                if let Ok(target) = rustix::fs::readlinkat(&folder, name, Vec::new()) {
                    if depth >= 16 {
                        return Err(Errno::LOOP).doing(|| doing(path));
                    }
                    let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
                    walked.pop();
                    let kind = if last { missing } else { Missing::Folder };
                    folder = make(root, &walked.join(target), kind, depth + 1)?;
                    walked.push(name);
                    continue;
                }
                let made = make_in(&folder, name, if last { missing } else { Missing::Folder });
                match made {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).doing(|| doing(path)),
                }
                folder = open_in_root(root, &walked, OFlags::PATH).doing(|| doing(path))?;
            }
            Err(errno) => return Err(errno).doing(|| doing(path)),
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_an_image_stay_inside_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink("/etc", root.path().join("absolute")).unwrap();
        symlink(outside.path(), root.path().join("escape")).unwrap();
        symlink("../../../../../../etc", root.path().join("up")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        let fd = fs::File::open(root.path()).unwrap();
        for path in ["/absolute/a/b", "up/c/d", "/escape/e", "../../f"] {
            open_or_make(&fd, Path::new(path), Missing::Folder).unwrap();
        }
        open_or_make(&fd, Path::new("/absolute/file"), Missing::File).unwrap();
        assert!(open_or_make(&fd, Path::new("/loop/x"), Missing::Folder).is_err());
        assert!(root.path().join("etc/a/b").is_dir());
        assert!(root.path().join("etc/c/d").is_dir());
        assert!(root.path().join("f").is_dir());
        assert!(root.path().join("etc/file").is_file());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
