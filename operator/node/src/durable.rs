//! Changes of the disk, each whole or not at all, and on the disk when the call returns.
//!
//! Nothing else in this program writes, so whatever happens to it happens before or after one of these steps. In
//! programs that are built for tests, `WHERRY_NODE_KILL_AT=n` ends it by SIGKILL at the n-th of them.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Here it may be killed.
pub(crate) fn point() {
    #[cfg(debug_assertions)]
    {
        use std::sync::atomic::{AtomicU32, Ordering};
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        let at = std::env::var("WHERRY_NODE_KILL_AT").ok().and_then(|at| at.parse().ok());
        if at == Some(passed) {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }
}

/// Where the file is that a path leads to, which may be a link.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Where a file is written before it has its name. No pattern of imports takes it.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.wherry-new"))
}

fn settle(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// A file of this content. One that is replaced keeps its owner and mode, and its name if that is a link.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let path = &real(path);
    let told = || format!("can't write {}", path.display());
    let before = fs::metadata(path).ok();
    let new = beside(path);
    point();
    let mut file = File::create(&new).with_context(told)?;
    file.write_all(content).with_context(told)?;
    let mode = before.as_ref().map_or(mode, |before| before.mode() & 0o7777);
    file.set_permissions(Permissions::from_mode(mode)).with_context(told)?;
    if let Some(before) = &before {
        chown(&new, Some(before.uid()), Some(before.gid())).with_context(told)?;
    }
    file.sync_all().with_context(told)?;
    point();
    fs::rename(&new, path).and_then(|()| settle(parent(path))).with_context(told)?;
    point();
    Ok(())
}

/// Where a file waits that may have to be [put back](put_back). No pattern of imports takes it.
fn kept(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.wherry-old"))
}

/// Keeps a file as it is beside its name, so that it can be put back on a disk that is full by then. Where files can't
/// have two names, as on FAT, it is not kept, and has to be written anew.
pub(crate) fn keep(path: &Path) -> Result<()> {
    let path = &real(path);
    let_go(path)?;
    point();
    match fs::hard_link(path, kept(path)) {
        Err(error)
            if ![
                io::ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied,
                io::ErrorKind::Unsupported,
            ]
            .contains(&error.kind()) =>
        {
            Err(error).with_context(|| format!("can't keep {} as it is", path.display()))
        }
        _ => Ok(()),
    }
}

/// Puts back the file that was [kept](keep), if it has this content. Whether it was; it takes no room.
pub(crate) fn put_back(path: &Path, content: &[u8]) -> Result<bool> {
    let path = &real(path);
    let kept = kept(path);
    if fs::read(&kept).ok().as_deref() != Some(content) {
        return Ok(false);
    }
    rename(&kept, path)?;
    Ok(true)
}

/// What was [kept](keep) is not needed any more.
pub(crate) fn let_go(path: &Path) -> Result<()> {
    take_away(&kept(&real(path)))
}

fn take_away(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// No file of this name, and none that was to become it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for path in [&beside(path), path] {
        point();
        match fs::remove_file(path).and_then(|()| settle(parent(path))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("can't remove {}", path.display()));
            }
            _ => {}
        }
    }
    point();
    Ok(())
}

/// What an earlier run has left of [`write`] when it was killed.
pub(crate) fn tidy_file(path: &Path) -> Result<()> {
    tidy(&real(path))
}

fn tidy(path: &Path) -> Result<()> {
    take_away(&beside(path))
}

/// What an earlier run has left of [`link`].
pub(crate) fn tidy_link(path: &Path) -> Result<()> {
    tidy(path)
}

/// A link from `path`, at once: whoever follows it finds the one or the other.
pub(crate) fn link(path: &Path, target: &Path) -> Result<()> {
    let told = || format!("can't make the link {}", path.display());
    let new = beside(path);
    tidy(path)?;
    point();
    symlink(target, &new).with_context(told)?;
    fs::rename(&new, path).and_then(|()| settle(parent(path))).with_context(told)?;
    point();
    Ok(())
}

/// The folder and those above it. Returns the ones that were not there, the outermost first.
pub(crate) fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let missing = path.ancestors().take_while(|folder| !folder.exists());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    for folder in &missing {
        point();
        fs::create_dir(folder)
            .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)))
            .and_then(|()| settle(parent(folder)))
            .with_context(|| format!("can't make {}", folder.display()))?;
    }
    Ok(missing)
}

/// Removes a folder if nothing is in it.
pub(crate) fn remove_empty(folder: &Path) -> Result<()> {
    point();
    match fs::remove_dir(folder) {
        Ok(()) => settle(parent(folder)).with_context(|| format!("after {}", folder.display())),
        // A mount point of ours: the folder of a volume stays, with nothing in it.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty]
                .contains(&error.kind()) =>
        {
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("can't remove {}", folder.display())),
    }
}

/// Another name for a file, or for a folder with all that is in it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    point();
    fs::rename(from, to)
        .and_then(|()| settle(parent(to)))
        .with_context(|| format!("can't rename {} to {}", from.display(), to.display()))?;
    point();
    Ok(())
}

/// A folder and all that is in it. One that is a mount point, as of a disk of its own, stays, with nothing in it.
pub(crate) fn remove_tree(folder: &Path) -> Result<()> {
    const GONE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::ResourceBusy];
    point();
    match fs::remove_dir_all(folder) {
        Err(error) if !GONE.contains(&error.kind()) => {
            Err(error).with_context(|| format!("can't remove {}", folder.display()))
        }
        _ => {
            point();
            Ok(())
        }
    }
}
