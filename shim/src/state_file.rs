//! `wherry.json` in the bundle: all that cleaning up needs when no shim is alive to tell it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wherry_core::lifecycle::{Exit, Time};
use wherry_sandbox::cgroup::Locator;

use crate::lifeline::Process;
use crate::native::Runc;
use crate::protocol::start::write_atomically;

const NAME: &str = "wherry.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<Locator>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guest: Option<Process>,
    /// A program that works for the container before it is there: the compiler, or runc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<Process>,
    /// The entry of the cache that the compiler works at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filling: Option<Filling>,
    /// Who knows the container, if it is native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) native: Option<Runc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<KnownExit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filling {
    pub(crate) cache: PathBuf,
    pub(crate) engine: String,
    pub(crate) digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownExit {
    pub(crate) status: u32,
    seconds: i64,
    nanos: i32,
}

impl KnownExit {
    pub(crate) fn at(self) -> Time {
        Time { seconds: self.seconds, nanos: self.nanos }
    }
}

impl From<Exit> for KnownExit {
    fn from(exit: Exit) -> KnownExit {
        KnownExit { status: exit.ended.status(), seconds: exit.at.seconds, nanos: exit.at.nanos }
    }
}

impl StateFile {
    pub(crate) fn read(bundle: &Path) -> Option<StateFile> {
        serde_json::from_slice(&std::fs::read(bundle.join(NAME)).ok()?).ok()
    }

    /// Whole or not at all: `delete` may read at any time.
    pub(crate) fn write(&self, bundle: &Path) -> std::io::Result<()> {
        write_atomically(&bundle.join(NAME), &serde_json::to_string(self)?)
    }

    pub(crate) fn remove(bundle: &Path) {
        let _ = std::fs::remove_file(bundle.join(NAME));
    }
}
