//! The programs that are installed with this one, as they were when the shim began.
//!
//! A shim lives as long as its pod, and meanwhile the node may get other programs in the place of these. What
//! shim, guest and compiler say to each other is of one version, so a shim that execs into its container a
//! month later must still find its own: it keeps them open.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use wherry_core::lifecycle::{Code, Denied};

#[derive(Debug)]
pub(crate) struct Installed {
    path: PathBuf,
    file: File,
}

static SHIM: OnceLock<Installed> = OnceLock::new();
static GUEST: OnceLock<Installed> = OnceLock::new();
static WHERRY: OnceLock<Installed> = OnceLock::new();
static WASMBOX: OnceLock<Installed> = OnceLock::new();

/// The process of a Wasm container.
pub(crate) fn guest() -> Result<&'static Installed, Denied> {
    known(&GUEST, || beside("wherry-guest"))
}

/// This program, which is the process of a pod's sandbox, too.
pub(crate) fn shim() -> Result<&'static Installed, Denied> {
    known(&SHIM, || Ok("/proc/self/exe".into()))
}

/// The compiler, and what asks containerd for layers.
pub(crate) fn wherry() -> Result<&'static Installed, Denied> {
    known(&WHERRY, || beside("wherry"))
}

/// The built-in programs, as one module.
pub(crate) fn wasmbox() -> Result<&'static Installed, Denied> {
    known(&WASMBOX, || beside("wasmbox.wasm"))
}

/// Opens all of them. One that is not there is told of to whoever comes to need it.
pub(crate) fn open_all() {
    let _ = (guest(), wherry(), wasmbox());
}

fn known(
    place: &'static OnceLock<Installed>,
    path: impl FnOnce() -> Result<PathBuf, Denied>,
) -> Result<&'static Installed, Denied> {
    if let Some(installed) = place.get() {
        return Ok(installed);
    }
    let path = path()?;
    let file = File::open(&path).map_err(|e| unusable(&path, &e))?;
    Ok(place.get_or_init(|| Installed { path, file }))
}

fn beside(name: &str) -> Result<PathBuf, Denied> {
    let own = std::fs::read_link("/proc/self/exe").map_err(|e| {
        Denied::new(Code::Unknown, format!("cannot tell where this program is: {e}"))
    })?;
    Ok(find(&own, &std::env::var_os("PATH").unwrap_or_default(), name))
}

fn unusable(path: &Path, error: &io::Error) -> Denied {
    let sentence = format!("{} must be beside the shim: {error}", path.display());
    Denied::new(Code::FailedPrecondition, sentence)
}

impl Installed {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs this very file, by the name under which it was found.
    pub(crate) fn command(&self) -> Command {
        // Until it is executed the new process has our descriptors.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.path);
        command
    }

    pub(crate) fn unusable(&self, error: &io::Error) -> Denied {
        unusable(&self.path, error)
    }
}

/// In the folder of this program; else where containerd, whose PATH it is, finds shims. A client may name any file
/// as the shim, and containerd's own suite names a copy that lies alone in /tmp (WithRuntimePath).
fn find(own: &Path, path: &OsStr, name: &str) -> PathBuf {
    let beside = own.with_file_name(name);
    if beside.exists() {
        return beside;
    }
    // A relative folder would be one of the bundle's.
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What containerd's TestContainerStartWithAbsRuntimePath does.
    #[test]
    fn a_copy_of_the_shim_finds_the_other_programs_where_containerd_looks() {
        let folder = std::env::temp_dir().join(format!("wherry-installed-{}", std::process::id()));
        let (there, copy) = (folder.join("bin"), folder.join("copy/shim"));
        std::fs::create_dir_all(&there).unwrap();
        std::fs::write(there.join("wherry"), "").unwrap();
        let path = std::env::join_paths([Path::new("."), &folder, &there]).unwrap();
        assert_eq!(find(&copy, &path, "wherry"), there.join("wherry"));
        assert_eq!(find(&there.join("shim"), OsStr::new(""), "wherry"), there.join("wherry"));
        assert_eq!(find(&copy, &path, "missing"), folder.join("copy/missing"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_was_found_is_run_though_another_takes_its_place() {
        let folder = std::env::temp_dir().join(format!("wherry-replaced-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("true");
        std::fs::copy("/bin/true", &path).unwrap();
        let found = Installed { file: File::open(&path).unwrap(), path: path.clone() };
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/false", &path).unwrap();
        assert!(found.command().status().unwrap().success());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
