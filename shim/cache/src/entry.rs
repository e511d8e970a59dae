//! One entry: finding it, and telling whether it is sound.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{
    Access, AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, accessat,
    fstat, futimens, openat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use wherry_core::plan::Profile;

use crate::{Cache, Digest, Entry, Error};

/// How stale the time of last use may be: once an hour keeps the order of eviction and spares a
/// write to the disk at every start of a container.
const USE_GRAIN_SECONDS: i64 = 3600;

/// Where an entry is, or would be.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) engine: &'a str,
    pub(crate) digest: &'a Digest,
}

/// What is written beside the code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) profile: Profile,
    /// Of the code.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Whether code matches its sidecar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Soundness {
    Sound,
    Unsound,
}

impl Place<'_> {
    /// Relative to the cache's folder.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}/{}{suffix}", self.engine, self.digest)
    }

    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.cache.path.join(self.name(suffix))
    }

    /// What is unsound is a miss, and stays for the fill that follows: only who holds the lock
    /// removes, or two could take away what a third just made.
    pub(crate) fn lookup(&self, verified: &OwnedFd) -> Result<Option<Entry>, Error> {
        let Some((sidecar_file, Some(sidecar))) = self.sidecar()? else { return Ok(None) };
        let Some(file) = self.open(".cwasm")? else { return Ok(None) };
        if self.check(&file, &sidecar, verified)? == Soundness::Unsound {
            return Ok(None);
        }
        self.touch(&sidecar_file)?;
        Ok(Some(Entry { file, profile: sidecar.profile, bytes: sidecar.bytes }))
    }

    /// The sidecar, if there is one; `None` inside if it can't be understood.
    pub(crate) fn sidecar(&self) -> Result<Option<(File, Option<Sidecar>)>, Error> {
        let Some(mut file) = self.open(".json")? else { return Ok(None) };
        let mut text = Vec::with_capacity(256);
        file.read_to_end(&mut text).map_err(|e| self.unreadable(".json", e))?;
        Ok(Some((file, serde_json::from_slice(&text).ok())))
    }

    pub(crate) fn open(&self, suffix: &str) -> Result<Option<File>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.cache.dir, self.name(suffix), flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.unreadable(suffix, error.into())),
        }
    }

    /// Compares the code with its sidecar: the size always, the hash once after each start of the
    /// node. No one but root can have written here in between, and the inode's change time would
    /// tell; what a disk or a crash did shows at the first use.
    fn check(
        &self,
        code: &File,
        sidecar: &Sidecar,
        verified: &OwnedFd,
    ) -> Result<Soundness, Error> {
        let stat = fstat(code).map_err(|e| self.unreadable(".cwasm", e.into()))?;
        if u64::try_from(stat.st_size) != Ok(sidecar.bytes) {
            return Ok(Soundness::Unsound);
        }
        let mark = mark(&stat);
        if accessat(verified, &mark, Access::EXISTS, AtFlags::empty()).is_ok() {
            return Ok(Soundness::Sound);
        }
        self.hash(code, sidecar, verified)
    }

    /// Compares the hash, and remembers that it was right.
    pub(crate) fn hash(
        &self,
        code: &File,
        sidecar: &Sidecar,
        verified: &OwnedFd,
    ) -> Result<Soundness, Error> {
        let digest = Digest::of_file(code).map_err(|e| self.unreadable(".cwasm", e))?;
        if digest.as_str() != sidecar.sha256 {
            return Ok(Soundness::Unsound);
        }
        self.remember(code, verified)?;
        Ok(Soundness::Sound)
    }

    pub(crate) fn remember(&self, code: &File, verified: &OwnedFd) -> Result<(), Error> {
        let stat = fstat(code).map_err(|e| self.unreadable(".cwasm", e.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        match openat(verified, mark(&stat), flags, Mode::RUSR) {
            Ok(_) => Ok(()),
            // Then it is hashed again next time.
            Err(Errno::NOSPC | Errno::ROFS | Errno::DQUOT) => Ok(()),
            Err(error) => Err(Error::write(self.path(".cwasm"), error.into())),
        }
    }

    /// Takes the entry away: the sidecar first, so that no one finds half of it.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        if let Some(code) = self.open(".cwasm")?
            && let Ok(stat) = fstat(&code)
        {
            // A mark that outlives its file is harmless: the next file has another inode or time.
            let _ = unlinkat(&self.cache.verified, mark(&stat), AtFlags::empty());
        }
        self.unlink(".json")?;
        self.unlink(".cwasm")
    }

    pub(crate) fn unlink(&self, suffix: &str) -> Result<(), Error> {
        match unlinkat(&self.cache.dir, self.name(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::write(self.path(suffix), error.into())),
        }
    }

    /// The time the sidecar was changed is the time of the last use, to the hour.
    fn touch(&self, sidecar: &File) -> Result<(), Error> {
        let stat = fstat(sidecar).map_err(|e| self.unreadable(".json", e.into()))?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        if now - stat.st_mtime as i64 >= USE_GRAIN_SECONDS {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            // A file system that was remounted read-only still serves what it has.
            let _ = futimens(sidecar, &Timestamps { last_access: omit, last_modification: now });
        }
        Ok(())
    }

    pub(crate) fn unreadable(&self, suffix: &str, source: std::io::Error) -> Error {
        Error::Read { path: self.path(suffix), source }
    }
}

/// The name under which it is remembered that this very file was verified.
fn mark(stat: &Stat) -> String {
    format!(
        "{:x}-{:x}-{:x}.{:x}-{:x}",
        stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec, stat.st_size
    )
}
