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
//! the next run. From `Proven` on it can only be finished, which takes no more than writing and removing files of our
//! own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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
    /// Handlers that containerd knows when this is done, and those that it does not know any more.
    pub(crate) expects: Vec<String>,
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

    pub(crate) fn write(&self) -> Result<()> {
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

    pub(crate) fn keep(record: Option<&Record>) -> Result<()> {
        match record {
            Some(record) => {
                durable::write(&Record::path(), &serde_json::to_vec_pretty(record)?, 0o600)
            }
            None => durable::remove(&Record::path()),
        }
    }

    pub(crate) fn known(&self, path: &Path) -> Option<&Known> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => {
            let value = serde_json::from_slice(&text);
            value.map(Some).with_context(|| format!("{} is not as we write it", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}
