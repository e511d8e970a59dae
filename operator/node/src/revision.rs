//! Revisions of the programs: staged beside each other, one of them in use.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, openat};
use sha2::{Digest, Sha256};
use wherry_containerd::SHIM;

use crate::run::{PATIENCE_OF_INFO, run};
use crate::{durable, home};

/// What a revision is made of.
const PROGRAMS: [&str; 4] = [SHIM, "wherry-guest", "wherry", "wasmbox.wasm"];

const MODE: u32 = 0o755;

/// The programs that this agent brings, opened before the node's file system becomes ours.
#[derive(Debug)]
pub(crate) struct Payload {
    programs: Vec<(&'static str, Vec<u8>)>,
    /// SHA-256 of all of them.
    pub(crate) digest: String,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Payload {
    pub(crate) fn open(folder: &Path) -> Result<Payload> {
        let told = |name: &str| {
            format!("can't read {} of the programs to install", folder.join(name).display())
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty());
        let opened = opened.with_context(|| told("."))?;
        let mut programs = Vec::new();
        let mut all = String::new();
        for name in PROGRAMS {
            let file = openat(&opened, name, flags, Mode::empty()).with_context(|| told(name))?;
            let mut bytes = Vec::new();
            File::from(file).read_to_end(&mut bytes).with_context(|| told(name))?;
            all.push_str(&format!("{} {name}\n", sha256(&bytes)));
            programs.push((name, bytes));
        }
        Ok(Payload { programs, digest: sha256(all.as_bytes()) })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(home::REVISIONS).join(&self.digest[..16])
    }

    /// Puts it on the node, where nobody uses it yet, and asks the shim there whether it can run at all.
    pub(crate) fn stage(&self) -> Result<()> {
        let folder = self.folder();
        if !self.is_whole(&folder) {
            let new = folder.with_extension("new");
            durable::remove_tree(&new)?;
            let staged = self.write_to(&new).and_then(|()| {
                durable::remove_tree(&folder)?;
                durable::rename(&new, &folder)
            });
            if staged.is_err() {
                // A disk that is full is not to be fuller by what nobody can use.
                durable::remove_tree(&new)?;
                durable::remove_empty(Path::new(home::REVISIONS))?;
                durable::remove_empty(Path::new(home::HOME))?;
            }
            staged?;
        }
        // From 2.4 on containerd asks every shim this when it starts, and waits without a limit.
        let shim = folder.join(SHIM);
        let told = run(Command::new(&shim).arg("-info"), PATIENCE_OF_INFO)?;
        if !told.status.success() {
            bail!("{} does not run on this node: {}", shim.display(), told.complaint());
        }
        Ok(())
    }

    fn write_to(&self, new: &Path) -> Result<()> {
        durable::folders(new)?;
        let mut programs = self.programs.iter();
        programs.try_for_each(|(name, bytes)| durable::write(&new.join(name), bytes, MODE))
    }

    /// Whether all programs are there as they came, and can be run.
    pub(crate) fn is_whole(&self, folder: &Path) -> bool {
        let same = |(name, bytes): &(&str, Vec<u8>)| {
            let path = folder.join(name);
            let mode = fs::metadata(&path).map(|found| found.permissions().mode() & 0o777);
            mode.is_ok_and(|mode| mode == MODE) && fs::read(path).is_ok_and(|found| found == *bytes)
        };
        self.programs.iter().all(same)
    }
}

/// Where the link leads to.
pub(crate) fn current() -> Option<PathBuf> {
    fs::read_link(home::CURRENT).ok()
}

/// SHA-256 of the shim that is in use.
pub(crate) fn shim_in_use() -> Option<String> {
    fs::read(home::SHIM).ok().map(|bytes| sha256(&bytes))
}

/// Removes revisions that nobody names: neither the link, nor `kept`, nor a bundle of a container that lives. A shim
/// keeps its programs open, so those that came through the link do not need their folder any more.
pub(crate) fn collect(kept: &[PathBuf], bundles: &[PathBuf]) -> Result<()> {
    let entries = fs::read_dir(home::REVISIONS).into_iter().flatten().flatten();
    for folder in entries.map(|entry| entry.path()) {
        let named = |path: &PathBuf| path.starts_with(&folder);
        if current().as_ref().is_some_and(named)
            || kept.iter().any(named)
            || bundles.iter().any(named)
        {
            continue;
        }
        durable::remove_tree(&folder)?;
    }
    Ok(())
}
