//! The guard: outside of containerd and of Kubernetes, it puts the old bytes back unless the proof came.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};

use crate::journal::{Journal, Stage, Supervisor};
use crate::systemd::Systemd;
use crate::{boot, durable, home, lock, undo};

const LOOK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(10);

fn program() -> PathBuf {
    Path::new(home::TRANSACTION).join("wherry-node")
}

/// Has the guard come in so long. `own` is this program: on the node it is nowhere else.
pub(crate) fn arm(own: &[u8], journal: &Journal, after: Duration) -> Result<()> {
    durable::write(&program(), own, 0o700)?;
    let program = program().display().to_string();
    match &journal.daemon.supervisor {
        Supervisor::Unit(_) => {
            // Where systemd's files can't be written, a boot has no guard; everything else has.
            if let Err(error) = boot::arm(&program, &journal.id, after) {
                eprintln!("nobody looks after this at a boot: {error:#}");
            }
            Systemd::connect()?.arm(&[program, "guard".into()], after)?;
        }
        Supervisor::Command(_) => {
            let mut guard = Command::new(&program);
            guard.args(["guard", "--of", &journal.id, "--after", &after.as_secs().to_string()]);
            // Its own group: it is to outlive whoever ends us.
            guard.process_group(0).env_remove("WHERRY_NODE_KILL_AT");
            guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            guard.spawn().with_context(|| format!("{program} can't be run on the node"))?;
        }
        // Nothing is restarted, so there is nothing to be proved in a hurry.
        Supervisor::Nobody => {}
    }
    durable::point();
    Ok(())
}

/// What the guard does, of one journal or of any. Whether there was anything to undo.
pub(crate) fn run(of: Option<&str>, after: Duration) -> Result<bool> {
    let end = Instant::now() + after;
    let is_meant = |journal: &Journal| of.is_none_or(|id| id == journal.id);
    while Instant::now() < end {
        // Its work came to an end, or another has begun, which has a guard of its own.
        if !Journal::read()?.as_ref().is_some_and(is_meant) {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    if !Path::new(home::HOME).exists() {
        return Ok(false);
    }
    loop {
        let lock = lock::take(lock::Wait::ForTheOther)?;
        let Some(journal) = Journal::read()? else { return Ok(false) };
        if !is_meant(&journal) {
            return Ok(false);
        }
        match ended(&journal) {
            Err(Stuck::ForNow(error)) => {
                eprintln!("{error:#}; tried again in {} s", AGAIN.as_secs())
            }
            Err(Stuck::ForGood(error)) => return Err(error),
            Ok(undone) => return Ok(undone),
        }
        // Whoever comes meanwhile may do it.
        drop(lock);
        std::thread::sleep(AGAIN);
    }
}

/// Why a journal did not come to its end.
enum Stuck {
    /// A disk that is full, or can't be written now.
    ForNow(Error),
    /// The files are back, and containerd does not come back with them: another restart would be no other.
    ForGood(Error),
}

fn ended(journal: &Journal) -> Result<bool, Stuck> {
    if journal.stage == Stage::Proven {
        undo::finish(journal).map_err(Stuck::ForNow)?;
        return Ok(false);
    }
    undo::put_files_back(journal).map_err(Stuck::ForNow)?;
    undo::undo(journal).map_err(Stuck::ForGood)?;
    Ok(true)
}

/// This program, before the node's file system is ours.
pub(crate) fn own_program() -> Result<Vec<u8>> {
    fs::read("/proc/self/exe").context("can't read this program")
}
