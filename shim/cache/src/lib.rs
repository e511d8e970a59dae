//! The node's cache of compiled code: each module is compiled once per engine, by whoever is first.
//!
//! ```text
//! <dir>/<engine id>/<sha256 of the Wasm>.json    what there is: profile, size and hash of the code
//!                                     .cwasm   the code itself, read-only, mapped by guests
//!                                     .lock    held while somebody compiles it
//! <run>/verified/<device>-<inode>-<ctime>-<size>   this code was hashed since the node started
//! ```
//!
//! The sidecar (`.json`) makes an entry: it is renamed into place last, so that a crash leaves code
//! without a sidecar at most, which the next fill takes away. Code is hashed when it is first used
//! after a start of the node; whatever does not match its sidecar is removed and is a miss.
//!
//! Nothing here knows how code is compiled or what it holds, except that it is ELF.

mod digest;
mod entry;
mod error;
mod fill;
mod prune;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

pub use digest::Digest;
pub use error::{Error, FillError};
pub use prune::{Listed, Pruned, Verified};
use wherry_core::plan::Profile;

/// Where it is remembered that code was verified since the node started.
pub const RUN: &str = "/run/wherry";

/// A cache folder. Cheap to open; every method may block on the disk, [`Cache::fill`] on others who
/// compile the same.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    dir: OwnedFd,
    verified: OwnedFd,
    max_bytes: u64,
}

/// Compiled code that is ready to be mapped.
#[derive(Debug)]
pub struct Entry {
    /// Open for reading only.
    pub file: File,
    pub profile: Profile,
    pub bytes: u64,
}

impl Cache {
    /// Opens the cache in `dir`, and makes the folder if there is none. It must belong to this
    /// user (root) and be writable by no one else: its code runs in every container.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Cache, Error> {
        Cache::open_at(dir, Path::new(RUN), max_bytes)
    }

    /// As [`Cache::open`], with another place than [`RUN`].
    pub fn open_at(dir: &Path, run: &Path, max_bytes: u64) -> Result<Cache, Error> {
        Ok(Cache {
            path: dir.to_owned(),
            dir: own_folder(dir)?,
            verified: own_folder(&run.join("verified"))?,
            max_bytes,
        })
    }

    /// The code of the Wasm with this digest for this engine, if it is there and sound.
    pub fn lookup(&self, engine: &str, digest: &Digest) -> Result<Option<Entry>, Error> {
        self.at(engine, digest)?.lookup(&self.verified)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at<'a>(&'a self, engine: &'a str, digest: &'a Digest) -> Result<entry::Place<'a>, Error> {
        if !is_engine_id(engine) {
            return Err(Error::EngineId { id: engine.to_owned() });
        }
        Ok(entry::Place { cache: self, engine, digest })
    }
}

/// It becomes the name of a folder.
fn is_engine_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !id.is_empty() && !id.starts_with('.') && id.bytes().all(plain)
}

fn own_folder(path: &Path) -> Result<OwnedFd, Error> {
    let unusable = |source: Errno| Error::Folder { path: path.to_owned(), source: source.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            make_folders(path).map_err(unusable)?;
            openat(CWD, path, flags, Mode::empty()).map_err(unusable)?
        }
        other => other.map_err(unusable)?,
    };
    let stat = fstat(&dir).map_err(unusable)?;
    let refused = |why: String| Error::Untrusted { path: path.to_owned(), why };
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        return Err(refused(format!("belongs to user {}, not to {me}", stat.st_uid)));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(refused(format!("is writable by others (mode {:o})", stat.st_mode & 0o7777)));
    }
    Ok(dir)
}

/// The folder itself with mode 0700, those above it as usual.
fn make_folders(path: &Path) -> Result<(), Errno> {
    if let Some(parent) = path.parent() {
        match statat(CWD, parent, AtFlags::empty()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => return Err(Errno::NOTDIR),
            Err(Errno::NOENT) => {
                make_folders_above(parent)?;
            }
            Err(error) => return Err(error),
        }
    }
    made(mkdirat(CWD, path, Mode::RWXU))
}

fn make_folders_above(path: &Path) -> Result<(), Errno> {
    std::fs::create_dir_all(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Two shims may make a folder at once.
fn made(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
