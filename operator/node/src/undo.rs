//! Back to what was before, and on to what is proved: what becomes of a journal that somebody left.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cri::{self, Cri, Wish};
use crate::journal::{Daemon, Edit, Journal, Record, Stage, Supervisor, Turn};
use crate::run::run;
use crate::systemd::Systemd;
use crate::{boot, durable, home, revision};

/// How long containerd may take until CRI answers.
pub(crate) const READY: Duration = Duration::from_secs(120);

pub(crate) fn content(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

pub(crate) fn put(path: &Path, text: Option<&str>) -> Result<()> {
    match text {
        Some(text) => durable::write(path, text.as_bytes(), 0o644),
        None => durable::remove(path),
    }
}

pub(crate) fn point_to(link: Option<&Path>) -> Result<()> {
    match link {
        _ if revision::current().as_deref() == link => Ok(()),
        Some(target) => durable::link(Path::new(home::CURRENT), target),
        None => durable::remove(Path::new(home::CURRENT)),
    }
}

/// Has containerd started again, if that is for us to do. Whether it was.
pub(crate) fn restart(daemon: &Daemon) -> Result<bool> {
    durable::point();
    match &daemon.supervisor {
        Supervisor::Nobody => return Ok(false),
        Supervisor::Unit(unit) => Systemd::connect()?.restart(unit)?,
        Supervisor::Command(words) => {
            let Some((program, rest)) = words.split_first() else { return Ok(false) };
            let output = run(Command::new(program).args(rest), READY)?;
            if !output.status.success() {
                bail!("{} failed: {}", words.join(" "), output.complaint());
            }
        }
    }
    durable::point();
    Ok(true)
}

/// Puts the files back that were before, on a disk that is full too. One that somebody else has written meanwhile is
/// left to him.
pub(crate) fn put_files_back(journal: &Journal) -> Result<()> {
    for Edit { path, text: Turn { before, after } } in journal.files.iter().rev() {
        durable::tidy_file(path)?;
        if content(path)? == *after && after != before {
            let is_back = match before {
                Some(text) => durable::put_back(path, text.as_bytes())?,
                None => false,
            };
            if !is_back {
                put(path, before.as_deref())?;
            }
        }
        durable::let_go(path)?;
    }
    journal.folders.iter().rev().try_for_each(|folder| durable::remove_empty(folder))
}

/// Whether some of it is as before already, as after an undo that did not come to its end. The journal's stage does not
/// tell: it stays what containerd may have read, and an undo writes nothing, for which there may be no room.
pub(crate) fn has_begun(journal: &Journal) -> Result<bool> {
    for Edit { path, text } in &journal.files {
        if text.before != text.after && content(path)? == text.before {
            return Ok(true);
        }
    }
    Ok(journal.link.after.is_some() && revision::current() != journal.link.after)
}

/// Puts back what was before, with containerd started on it if it is for us to start it. Whether it was started again.
pub(crate) fn undo(journal: &Journal) -> Result<bool> {
    let mut restarted = false;
    put_files_back(journal)?;
    let was_ready = Cri::connect(&journal.daemon.address).and_then(|mut cri| cri.state());
    let was_ready = was_ready.is_ok_and(|state| state.ready);
    if journal.stage >= Stage::Committed || !was_ready {
        if !journal.files.is_empty() {
            restarted = restart(&journal.daemon)?;
        }
        cri::wait(&journal.daemon.address, &Wish::default(), READY)?;
    }
    // The other way round than it was done: nothing that containerd may be told of is missing meanwhile.
    durable::tidy_link(Path::new(home::CURRENT))?;
    point_to(journal.link.before.as_deref())?;
    Record::keep(journal.record.before.as_ref())?;
    revision::collect(&[], &[])?;
    if journal.record.before.is_none() && journal.link.before.is_none() {
        // Its container may have run already.
        home::sweep()?;
    }
    close(&journal.daemon)?;
    Ok(restarted)
}

/// Finishes what is proved.
pub(crate) fn finish(journal: &Journal) -> Result<()> {
    Record::keep(journal.record.after.as_ref())?;
    point_to(journal.link.after.as_deref())?;
    journal.files.iter().try_for_each(|edit| durable::let_go(&edit.path))?;
    if journal.record.after.is_none() {
        let record = journal.record.before.as_ref();
        for folder in record.into_iter().flat_map(|record| record.folders.iter().rev()) {
            durable::remove_empty(folder)?;
        }
        // One that nobody remembers to have made.
        let files = journal.files.iter().filter_map(|edit| edit.path.parent());
        for folder in files.filter(|folder| folder.ends_with(wherry_containerd::FOLDER)) {
            durable::remove_empty(folder)?;
        }
        durable::remove_tree(Path::new(home::REVISIONS))?;
        home::sweep()?;
    }
    close(&journal.daemon)
}

/// No guard, and no journal, which goes last.
pub(crate) fn close(daemon: &Daemon) -> Result<()> {
    if matches!(daemon.supervisor, Supervisor::Unit(_)) {
        Systemd::connect()?.disarm()?;
        boot::disarm()?;
    }
    let folder = Path::new(home::TRANSACTION);
    Journal::forget()?;
    durable::remove_tree(folder)?;
    durable::remove_empty(Path::new(home::REVISIONS))?;
    durable::remove_empty(Path::new(home::HOME))
}
