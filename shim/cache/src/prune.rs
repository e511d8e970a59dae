//! Looking after the cache: what is in it, whether it is sound, and what goes when it is full.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;
use wherry_core::plan::Profile;

use crate::entry::Soundness;
use crate::fill::Lock;
use crate::{Cache, Digest, Error, is_engine_id};

/// One entry of [`Cache::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub engine: String,
    /// Of the Wasm.
    pub digest: Digest,
    pub profile: Profile,
    /// Of the code.
    pub bytes: u64,
    /// To the hour.
    pub used: SystemTime,
}

/// What [`Cache::prune`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub entries: usize,
    pub bytes: u64,
}

/// What [`Cache::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub sound: usize,
    /// Removed.
    pub unsound: Vec<(String, Digest)>,
}

impl Cache {
    /// Every entry, the least recently used first.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut entries = Vec::new();
        for engine in self.engines()? {
            for digest in self.digests(&engine, ".json")? {
                let place = self.at(&engine, &digest)?;
                let Some((file, Some(sidecar))) = place.sidecar()? else { continue };
                let stat = fstat(&file).map_err(|e| place.unreadable(".json", e.into()))?;
                let used = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
                entries.push(Listed {
                    profile: sidecar.profile,
                    bytes: sidecar.bytes,
                    used: SystemTime::UNIX_EPOCH + used,
                    engine: engine.clone(),
                    digest,
                });
            }
        }
        entries.sort_by(|a, b| (a.used, &a.digest).cmp(&(b.used, &b.digest)));
        Ok(entries)
    }

    /// Hashes every entry, and removes what does not match.
    pub fn verify(&self) -> Result<Verified, Error> {
        let mut verified = Verified::default();
        for engine in self.engines()? {
            for digest in self.digests(&engine, ".json")? {
                let place = self.at(&engine, &digest)?;
                let Some((_, sidecar)) = place.sidecar()? else { continue };
                let soundness = match (sidecar, place.open(".cwasm")?) {
                    (Some(sidecar), Some(code)) => place.hash(&code, &sidecar, &self.verified)?,
                    (None, _) | (_, None) => Soundness::Unsound,
                };
                match soundness {
                    Soundness::Sound => verified.sound += 1,
                    Soundness::Unsound => {
                        // Who fills it just now removes it, too.
                        if let Some(_lock) = Lock::try_take(place)? {
                            place.remove()?;
                        }
                        verified.unsound.push((engine.clone(), digest));
                    }
                }
            }
        }
        Ok(verified)
    }

    /// Brings the cache below its bound: entries of other engines than `engine` first (after an
    /// upgrade nothing asks for them), then the least recently used. Takes away what crashes left.
    pub fn prune(&self, engine: Option<&str>) -> Result<Pruned, Error> {
        for engine in self.engines()? {
            self.sweep(&engine)?;
        }
        let pruned = self.shrink(engine, None);
        for engine in self.engines()? {
            // Only an empty one goes.
            let _ = unlinkat(&self.dir, &engine, AtFlags::REMOVEDIR);
        }
        pruned
    }

    /// After a fill: what was just filled stays, and the rest only goes if the bound is passed.
    pub(crate) fn prune_for(&self, kept: Option<(&str, &Digest)>) -> Result<Pruned, Error> {
        self.shrink(kept.map(|(engine, _)| engine), kept)
    }

    fn shrink(&self, engine: Option<&str>, kept: Option<(&str, &Digest)>) -> Result<Pruned, Error> {
        let entries = self.list()?;
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut pruned = Pruned::default();
        // Stable: within each half the order stays that of use.
        let mut entries = entries;
        entries.sort_by_key(|entry| Reverse(engine.is_some_and(|engine| entry.engine != engine)));
        for entry in entries {
            if total <= self.max_bytes {
                break;
            }
            if kept == Some((&entry.engine, &entry.digest)) {
                continue;
            }
            self.at(&entry.engine, &entry.digest)?.remove()?;
            total -= entry.bytes;
            pruned.entries += 1;
            pruned.bytes += entry.bytes;
        }
        Ok(pruned)
    }

    /// Removes what is no entry and belongs to nobody who is filling.
    fn sweep(&self, engine: &str) -> Result<(), Error> {
        for suffix in [".lock", ".cwasm", ".cwasm.new", ".json.new"] {
            for digest in self.digests(engine, suffix)? {
                let place = self.at(engine, &digest)?;
                if let Some(_lock) = Lock::try_take(place)?
                    && place.open(".json")?.is_none()
                {
                    place.sweep()?;
                }
            }
        }
        Ok(())
    }

    fn engines(&self) -> Result<Vec<String>, Error> {
        Ok(self.names(".")?.into_iter().filter(|name| is_engine_id(name)).collect())
    }

    /// Of all files in the engine's folder that end so.
    fn digests(&self, engine: &str, suffix: &str) -> Result<Vec<Digest>, Error> {
        let names = self.names(engine)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(suffix)?.parse().ok()).collect())
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, Error> {
        let unreadable = |e: Errno| Error::Read { path: self.path.join(folder), source: e.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(&self.dir, folder, flags, Mode::empty()) {
            // Somebody else pruned it, or it is a stray file.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            other => other.map_err(unreadable)?,
        };
        let mut names = Vec::new();
        for entry in Dir::new(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy();
            if !name.starts_with('.') {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}
