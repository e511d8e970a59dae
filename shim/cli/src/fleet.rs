//! `wherry fleet`: another program, `wherry-fleet`. This one is on every node, where nobody needs a client of
//! Kubernetes; that one is where people are.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result};

const PROGRAM: &str = "wherry-fleet";

/// Becomes that program.
pub(crate) fn run(words: &[OsString]) -> Result<()> {
    let own = env::current_exe().context("which program this is")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = own.parent().map(Path::to_path_buf);
    let mut folders = beside.into_iter().chain(env::split_paths(&path));
    let program: PathBuf = folders
        .find_map(|folder| Some(folder.join(PROGRAM)).filter(|file| file.is_file()))
        .with_context(|| {
            format!("there is no {PROGRAM}, neither beside {} nor in PATH", own.display())
        })?;
    let failed = Command::new(&program).args(words).exec();
    Err(Error::from(failed).context(program.display().to_string()))
}
