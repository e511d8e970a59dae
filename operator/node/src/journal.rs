//! What a run writes down before it changes anything, so that whoever comes next can finish it or undo it.
//!
//! ```text
//!            files of before, and of after       in their places        containerd has them        the proof came
//!  (nothing) ────────────────────────► Prepared ────────────► Committed ────────────► Restarted ────────────► Proven ──► (nothing)
//!                                          │                      │                       │
//!                                          └──────── undo ◄───────┴───────────────────────┘
//! ```
//!
//! Up to `Restarted` it can be undone: by the run itself when something fails, by the guard when the run is dead, by
//! the next run. The stage stays what it was until that is done: an undo that was cut short, or whose restart failed, is
//! begun anew by whoever comes next, unless that is a run of the same work, which puts its files into their places
//! again. From `Proven` on it can only be finished, which takes no more than writing and removing files of our
//! own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use wherry_report::Handler;

use crate::durable;
use crate::home;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    Prepared,
    Committed,
    Restarted,
    Proven,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) transaction: String,
    /// Of this journal and of no other: an order may come twice.
    pub(crate) id: String,
    pub(crate) stage: Stage,
    /// In the order in which they are changed; undone in the other one.
    pub(crate) files: Vec<Edit>,
    /// Folders that were made for them, the outermost first.
    pub(crate) folders: Vec<PathBuf>,
    /// Where the link to the revision in use leads to.
    pub(crate) link: Turn<Option<PathBuf>>,
    /// What is known of the installation. None is that there is none.
    pub(crate) record: Turn<Option<Record>>,
    /// Handlers that containerd has loaded when this is done, and those that it does not know any more.
    #[serde(default)]
    pub(crate) handlers: Vec<Handler>,
    pub(crate) forgets: Vec<String>,
    /// Containers that ran before.
    pub(crate) containers: Vec<String>,
    pub(crate) daemon: Daemon,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn<T> {
    pub(crate) before: T,
    pub(crate) after: T,
}

/// A file, whole: configuration is text, and small. None is that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) path: PathBuf,
    pub(crate) text: Turn<Option<String>>,
}

/// The containerd that is meant, for a guard that has nobody to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Daemon {
    pub(crate) address: PathBuf,
    pub(crate) supervisor: Supervisor,
}

/// Who starts it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Supervisor {
    /// A unit of systemd's.
    Unit(String),
    /// A command, where there is no systemd.
    Command(Vec<String>),
    /// Nobody has to: it takes files over by itself, or it is not for us to restart it.
    #[default]
    Nobody,
}

/// What is on the node: written when it is proved, and all that a removal needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The `WasmShim` whose it is; empty if a person's.
    #[serde(default)]
    pub(crate) shim: String,
    pub(crate) revision: String,
    pub(crate) digest: String,
    pub(crate) handlers: Vec<String>,
    pub(crate) files: Vec<Known>,
    pub(crate) folders: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    /// As it was before us; None is that it was not.
    pub(crate) original: Option<String>,
    /// As we left it.
    pub(crate) ours: Option<String>,
}

impl Journal {
    /// For a new one.
    pub(crate) fn id() -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}-{}", now.as_nanos(), std::process::id())
    }

    fn path() -> PathBuf {
        Path::new(home::TRANSACTION).join("journal.json")
    }

    pub(crate) fn read() -> Result<Option<Journal>> {
        read(&Journal::path())
    }

    /// Begins: with the record that is to be when all is done, for which there may be no room by then.
    pub(crate) fn begin(&self) -> Result<()> {
        durable::folders(Path::new(home::TRANSACTION))?;
        if let Some(record) = &self.record.after {
            durable::write(&Record::to_come(), &record.text()?, 0o600)?;
        }
        self.write()
    }

    fn write(&self) -> Result<()> {
        durable::write(&Journal::path(), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    pub(crate) fn reach(&mut self, stage: Stage) -> Result<()> {
        self.stage = stage;
        self.write()
    }

    pub(crate) fn forget() -> Result<()> {
        durable::remove(&Journal::path())
    }
}

impl Record {
    fn path() -> PathBuf {
        Path::new(home::HOME).join("installed.json")
    }

    pub(crate) fn read() -> Result<Option<Record>> {
        read(&Record::path())
    }

    /// Where the one waits that is to be.
    fn to_come() -> PathBuf {
        Path::new(home::TRANSACTION).join("installed.json")
    }

    fn text(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// What is known from now on. It takes no room if it is what was [to be](Journal::begin), or what was.
    pub(crate) fn keep(record: Option<&Record>) -> Result<()> {
        let Some(record) = record else { return durable::remove(&Record::path()) };
        let (text, to_come) = (record.text()?, Record::to_come());
        let is = |path: &Path| fs::read(path).is_ok_and(|found| found == text);
        if is(&Record::path()) {
            return Ok(());
        }
        match is(&to_come) {
            true => durable::rename(&to_come, &Record::path()),
            false => durable::write(&Record::path(), &text, 0o600),
        }
    }

    /// Whose the node is, by what is written down of it, unless it may be this one's.
    pub(crate) fn anothers<'a>(
        record: Option<&'a Record>,
        journal: Option<&'a Journal>,
        shim: &str,
    ) -> Option<&'a str> {
        let turn = journal.map(|journal| &journal.record);
        let begun = turn.and_then(|turn| turn.after.as_ref().or(turn.before.as_ref()));
        let owner = begun.or(record)?.shim.as_str();
        (!owner.is_empty() && !shim.is_empty() && owner != shim).then_some(owner)
    }

    pub(crate) fn known(&self, path: &Path) -> Option<&Known> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => {
            let value = serde_json::from_slice(&text);
            value.map(Some).with_context(|| {
                format!(
                    "{} is not as wherry-node writes it: take it away, and what is on the node is found by what \
                     containerd's files say",
                    path.display()
                )
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_wasm_shims() {
        let of = |shim: &str| Record { shim: shim.into(), ..Record::default() };
        let another =
            |record: &Record, shim| Record::anothers(Some(record), None, shim).map(str::to_owned);
        assert_eq!(another(&of("a"), "b").as_deref(), Some("a"));
        assert_eq!(another(&of("a"), "a"), None);
        // A person may do anything, and what a person has done is anybody's.
        assert_eq!(another(&of("a"), ""), None);
        assert_eq!(another(&of(""), "b"), None);
        assert_eq!(Record::anothers(None, None, "b"), None);
    }

    #[test]
    fn what_is_under_way_is_somebodys_too() {
        let journal = |before: Option<&str>, after: Option<&str>| {
            let of = |shim: Option<&str>| {
                shim.map(|shim| Record { shim: shim.into(), ..Record::default() })
            };
            Journal {
                transaction: String::new(),
                id: String::new(),
                stage: Stage::Committed,
                files: Vec::new(),
                folders: Vec::new(),
                link: Turn { before: None, after: None },
                record: Turn { before: of(before), after: of(after) },
                handlers: Vec::new(),
                forgets: Vec::new(),
                containers: Vec::new(),
                daemon: Daemon::default(),
            }
        };
        let first = journal(None, Some("a"));
        assert_eq!(Record::anothers(None, Some(&first), "b"), Some("a"));
        let last = journal(Some("a"), None);
        assert_eq!(Record::anothers(None, Some(&last), "b"), Some("a"));
        assert_eq!(Record::anothers(None, Some(&last), "a"), None);
    }
}
