//! Native containers: programs for this machine, run by the node's own `runc`.
//!
//! A pod has sidecars, init and debug containers beside its Wasm containers, all under one runtime
//! class. Theirs is everything that runc can do, so runc does it: it reads `config.json` itself, and
//! here are only its calls, in the order of words in which containerd's own shim makes them
//! (containerd/go-runc v1.2.1, `runc.go`), and what containerd says when one fails
//! (`cmd/containerd-shim-runc-v2/process`).
//!
//! The crate `runc` of containerd/rust-extensions is not used: it writes a process and resources
//! anew from its own types and so drops what it does not know, has no errors out of `--log`, wants
//! tokio's multi-threaded runtime, and its `exec` is in another order.

mod call;
mod console;
mod container;
mod words;

pub(crate) use console::remove_dead as remove_dead_consoles;
pub(crate) use container::{Born, Native, Ran};
pub(crate) use words::Runc;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::limited::{self, Abort};

/// containerd gives the whole action no more than this.
const SOON: Duration = Duration::from_secs(5);

/// A program as `exec.LookPath` of Go finds it: by its path, or by its name on `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.filter(|path| path.is_absolute()).find(|path| is_program(path))
}

/// What runc says of itself (runtime spec, features.md); none where there is no runc, or one that
/// does not say.
pub(crate) fn features(name: &str) -> Option<serde_json::Value> {
    let mut answer = File::from(memfd_create("features", MemfdFlags::CLOEXEC).ok()?);
    let mut command = Command::new(find(name)?);
    command.arg("features").stdin(Stdio::null()).stdout(answer.try_clone().ok()?);
    let ended = limited::run(command, SOON, &Abort::new().ok()?, &|_| {}).ok()?;
    answer.seek(SeekFrom::Start(0)).ok()?;
    ended.status.success().then(|| serde_json::from_reader(answer).ok())?
}

fn is_program(path: &Path) -> bool {
    use rustix::fs::Access;
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}
