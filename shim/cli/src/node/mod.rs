//! What runs on this node, as `/proc` and containerd's bundles tell it. Nobody is asked: neither containerd nor a
//! shim has to answer for a person to see what there is.

pub(crate) mod bundle;
pub(crate) mod shim;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use procfs::process::{FDTarget, Stat};

/// A process, and what is quick to read of it. One that ends meanwhile is none.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) stat: Stat,
    inner: procfs::process::Process,
}

/// Every process of this PID namespace that could be read before it ended.
pub(crate) fn processes() -> anyhow::Result<Vec<Process>> {
    let all = procfs::process::all_processes().context("can't read /proc")?;
    Ok(all.filter_map(|one| Process::read(one.ok()?)).collect())
}

/// Looking into other users' processes takes this capability (ptrace(2), "Ptrace access mode checking").
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Whether other users' processes can be looked into.
pub(crate) fn may_look(command: &str) -> anyhow::Result<()> {
    let me = procfs::process::Process::myself()
        .and_then(|me| me.status())
        .context("can't read /proc")?;
    if me.capeff & CAP_SYS_PTRACE == 0 {
        bail!(
            "{command} looks into processes and folders of root, and this user may not: run it as root \
             (sudo wherry {command})"
        );
    }
    Ok(())
}

impl Process {
    fn read(inner: procfs::process::Process) -> Option<Process> {
        let stat = inner.stat().ok()?;
        Some(Process { pid: inner.pid(), stat, inner })
    }

    pub(crate) fn of(pid: u32) -> Option<Process> {
        Process::read(procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?)
    }

    /// This one, which has another pid in a `/proc` of another PID namespace.
    pub(crate) fn this() -> Option<Process> {
        Process::read(procfs::process::Process::myself().ok()?)
    }

    pub(crate) fn words(&self) -> Vec<String> {
        self.inner.cmdline().unwrap_or_default()
    }

    /// Where its program was when it was started, and whether another (or none) is there now.
    pub(crate) fn program(&self) -> Option<(PathBuf, bool)> {
        let told = self.inner.exe().ok()?;
        let text = told.to_string_lossy();
        Some(match text.strip_suffix(" (deleted)") {
            Some(path) => (path.into(), true),
            None => (told, false),
        })
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.program().is_some_and(|(path, _)| path.file_name().is_some_and(|file| file == name))
    }

    /// The variable of the environment that it was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let all = self.inner.environ().ok()?;
        Some(all.get(std::ffi::OsStr::new(name))?.to_string_lossy().into_owned())
    }

    pub(crate) fn open_files(&self) -> Vec<FDTarget> {
        let Ok(all) = self.inner.fd() else { return Vec::new() };
        all.filter_map(|one| Some(one.ok()?.target)).collect()
    }

    /// Names the namespace, as `mnt:[4026531841]`.
    pub(crate) fn namespace(&self, kind: &str) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok()
    }

    /// What it sees at `path`, for us to open.
    pub(crate) fn sees(&self, path: &Path) -> PathBuf {
        let mut seen = PathBuf::from(format!("/proc/{}/root", self.pid));
        seen.push(path.strip_prefix("/").unwrap_or(path));
        seen
    }

    /// What is mapped into its memory.
    pub(crate) fn maps(&self) -> Vec<procfs::process::MemoryMap> {
        self.inner.maps().map(|maps| maps.0).unwrap_or_default()
    }

    pub(crate) fn unix_sockets(&self) -> Vec<procfs::net::UnixNetEntry> {
        self.inner.unix().unwrap_or_default()
    }

    /// Bytes of memory, what it shares with others counted in parts (PSS).
    pub(crate) fn memory(&self) -> Option<u64> {
        let rolled = self.inner.smaps_rollup().ok()?;
        rolled.memory_map_rollup.0.first()?.extension.map.get("Pss").copied()
    }

    /// Seconds since the epoch.
    pub(crate) fn started(&self) -> u64 {
        let booted = procfs::boot_time_secs().unwrap_or(0);
        booted + self.stat.starttime / procfs::ticks_per_second()
    }

    /// Threads of its own.
    pub(crate) fn threads(&self) -> u64 {
        u64::try_from(self.stat.num_threads).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read() {
        let me = Process::of(std::process::id()).expect("this one");
        let (program, replaced) = me.program().expect("a program");
        assert_eq!(Some(program), std::env::current_exe().ok());
        assert!(!replaced);
        assert!(me.memory().is_some_and(|bytes| bytes > 100_000), "{:?}", me.memory());
        let age = crate::cache::seconds(std::time::SystemTime::now()).abs_diff(me.started());
        assert!(age < 600, "{age} s old");
        let held = std::env::temp_dir();
        assert!(me.sees(&held).is_dir(), "{}", me.sees(&held).display());
    }
}
