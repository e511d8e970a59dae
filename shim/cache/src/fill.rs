//! Filling: one compiles, the others wait for it.
//!
//! ```text
//! lock ─► look again ─► unnamed file ─► compile into it ─► check, hash, sync ─► link ─► sidecar ─► unlock
//! ```
//!
//! A process that dies on the way loses its lock with its life, and its unnamed file, too. What it
//! may leave is code without a sidecar, a sidecar that was not renamed yet, and the lock's file:
//! whoever holds the lock next takes them away.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fstatvfs, linkat, mkdirat,
    openat, renameat, statat,
};
use rustix::io::Errno;
use wherry_core::plan::Profile;

use crate::entry::{Place, Sidecar};
use crate::{Cache, Digest, Entry, Error, FillError, made};

/// How often who waits looks again: little beside what a compiler takes.
const LOOK: Duration = Duration::from_millis(10);

impl Cache {
    /// The entry for `digest`, compiled by `compile` unless somebody else just did.
    ///
    /// `compile` writes the code to the file it is given, lets no one keep it open for writing, and
    /// tells its profile. While it runs, others who want the same entry wait.
    pub fn fill<E>(
        &self,
        engine: &str,
        digest: &Digest,
        compile: impl FnOnce(&File) -> Result<Profile, E>,
    ) -> Result<Entry, FillError<E>> {
        let pause = |time| {
            std::thread::sleep(time);
            Ok(())
        };
        self.fill_while(engine, digest, pause, compile)
    }

    /// As [`Cache::fill`], but who waits for another one is asked again and again to `pause` until the next look, and
    /// may end the waiting by an error.
    pub fn fill_while<E>(
        &self,
        engine: &str,
        digest: &Digest,
        pause: impl Fn(Duration) -> Result<(), E>,
        compile: impl FnOnce(&File) -> Result<Profile, E>,
    ) -> Result<Entry, FillError<E>> {
        let place = self.at(engine, digest)?;
        let folder = made(mkdirat(&self.dir, engine, Mode::RWXU));
        folder.map_err(|e| Error::write(self.path.join(engine), e.into()))?;
        let lock = loop {
            match Lock::try_take(place)? {
                Some(lock) => break lock,
                None => pause(LOOK).map_err(FillError::Compile)?,
            }
        };
        if let Some(entry) = place.lookup(&self.verified)? {
            return Ok(entry);
        }
        place.sweep()?;
        let (output, named) = place.output()?;
        let profile = compile(&output).map_err(|error| match is_full(&output) {
            // The compiler only knows that a write failed, not whose disk it was.
            true => FillError::Cache(Error::Full { path: place.path(".cwasm") }),
            false => FillError::Compile(error),
        })?;
        let entry = place.publish(&output, named, profile)?;
        drop(lock);
        // The entry is there all the same; whoever fills or prunes next tries again.
        let _ = self.prune_for(Some((engine, digest)));
        Ok(entry)
    }
}

impl Cache {
    /// Takes away what somebody who died while filling this entry has left. An entry that is whole
    /// stays, and so does what somebody is at.
    pub fn abandon(&self, engine: &str, digest: &Digest) -> Result<(), Error> {
        let place = self.at(engine, digest)?;
        let Some(lock) = Lock::try_take(place)? else { return Ok(()) };
        if place.lookup(&self.verified)?.is_none() {
            place.sweep()?;
        }
        drop(lock);
        Ok(())
    }
}

/// Whether the file being written has a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Yes,
    No,
}

impl Place<'_> {
    /// Takes away an unsound entry, and what somebody who died with the lock may have left.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        self.remove()?;
        self.unlink(".json.new")?;
        self.unlink(".cwasm.new")
    }

    /// An unnamed file, or a named one where the file system has no unnamed ones (`open(2)`,
    /// `O_TMPFILE`).
    fn output(&self) -> Result<(File, Named), Error> {
        let cache = &self.cache.dir;
        let mode = Mode::RUSR | Mode::WUSR;
        let unnamed = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match openat(cache, self.engine, unnamed, mode) {
            Ok(fd) => return Ok((fd.into(), Named::No)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(error) => return Err(Error::write(self.path(".cwasm"), error.into())),
        }
        let named = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(cache, self.name(".cwasm.new"), named, mode) {
            Ok(fd) => Ok((fd.into(), Named::Yes)),
            Err(error) => Err(Error::write(self.path(".cwasm.new"), error.into())),
        }
    }

    fn publish(&self, output: &File, named: Named, profile: Profile) -> Result<Entry, Error> {
        let unwritten = |e: Errno| Error::write(self.path(".cwasm"), e.into());
        let bytes = is_code(output).map_err(|e| self.unreadable(".cwasm", e))??;
        let sha256 = Digest::of_file(output).map_err(|e| self.unreadable(".cwasm", e))?;
        fchmod(output, Mode::RUSR).map_err(unwritten)?;
        output.sync_data().map_err(|e| Error::write(self.path(".cwasm"), e))?;
        let to = self.name(".cwasm");
        // Opened before it has a name that others could remove.
        let own = format!("/proc/self/fd/{}", output.as_raw_fd());
        let reading = openat(CWD, &own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = File::from(reading.map_err(unwritten)?);
        match named {
            Named::Yes => renameat(&self.cache.dir, self.name(".cwasm.new"), &self.cache.dir, to),
            // Linking by descriptor alone (AT_EMPTY_PATH) would need CAP_DAC_READ_SEARCH.
            Named::No => linkat(CWD, own, &self.cache.dir, to, AtFlags::SYMLINK_FOLLOW),
        }
        .map_err(unwritten)?;
        let sidecar = Sidecar { profile, sha256: sha256.as_str().to_owned(), bytes };
        self.publish_sidecar(&sidecar)?;
        self.remember(&file, &self.cache.verified)?;
        Ok(Entry { file, profile, bytes })
    }

    fn publish_sidecar(&self, sidecar: &Sidecar) -> Result<(), Error> {
        let unwritten = |e: std::io::Error| Error::write(self.path(".json"), e);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let new = openat(&self.cache.dir, self.name(".json.new"), flags, Mode::RUSR | Mode::WUSR);
        let mut new = File::from(new.map_err(|e| unwritten(e.into()))?);
        let text = serde_json::to_vec(sidecar).map_err(|e| unwritten(e.into()))?;
        new.write_all(&text).and_then(|()| new.sync_data()).map_err(unwritten)?;
        renameat(&self.cache.dir, self.name(".json.new"), &self.cache.dir, self.name(".json"))
            .map_err(|e| unwritten(e.into()))
    }
}

/// Whether its file system has no room for anything more: what was written still takes it.
fn is_full(output: &File) -> bool {
    fstatvfs(output).is_ok_and(|disk| disk.f_bfree.saturating_mul(disk.f_frsize) < 64 << 10)
}

/// Its size, if it is code at all. Whether it is sound code, only the engine can tell.
fn is_code(output: &File) -> std::io::Result<Result<u64, Error>> {
    let bytes = output.metadata()?.len();
    let mut magic = [0; 4];
    Ok(match bytes {
        0 => Err(Error::NotCode { what: "nothing" }),
        1..4 => Err(Error::NotCode { what: "a stump" }),
        _ => {
            output.read_exact_at(&mut magic, 0)?;
            match &magic {
                b"\x7fELF" => Ok(bytes),
                _ => Err(Error::NotCode { what: "something that is not ELF" }),
            }
        }
    })
}

/// The right to fill one entry, for as long as it lives.
pub(crate) struct Lock<'a> {
    place: Place<'a>,
    file: File,
}

impl<'a> Lock<'a> {
    /// Takes it if nobody has it. Its last holder may remove the file between our opening and locking it: then it
    /// locks out nobody, and is not taken.
    pub(crate) fn try_take(place: Place<'a>) -> Result<Option<Lock<'a>>, Error> {
        let file = Lock::open(place)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_current(place, &file) => Ok(Some(Lock { place, file })),
            Ok(()) | Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::write(place.path(".lock"), error.into())),
        }
    }

    fn open(place: Place<'a>) -> Result<File, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        match openat(&place.cache.dir, place.name(".lock"), flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(fd.into()),
            Err(error) => Err(Error::write(place.path(".lock"), error.into())),
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Removed while it is held, so that who waits for it sees that it is gone.
        let _ = self.place.unlink(".lock");
        let _ = flock(self.file.as_fd(), FlockOperation::Unlock);
    }
}

fn is_current(place: Place<'_>, file: &File) -> bool {
    let named = statat(&place.cache.dir, place.name(".lock"), AtFlags::SYMLINK_NOFOLLOW);
    match (named, fstat(file)) {
        (Ok(named), Ok(held)) => (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino),
        _ => false,
    }
}
