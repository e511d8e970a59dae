//! The processes of a group: listed, killed, frozen; and the group removed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::{Cgroup, write};
use crate::error::Doing;
use crate::{Error, Result};

/// How long a group may take to freeze, and an emptied one to become removable.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many processes are in a group and below it. None in one that is not there.
pub(super) fn count_in(folder: &Path) -> usize {
    let mut pids = BTreeSet::new();
    // A file that cannot be read tells of nobody.
    let _ = collect(folder, &mut pids);
    pids.len()
}

impl Cgroup {
    /// All processes in the group and below it. A group that is gone has none.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = BTreeSet::new();
        if let Some(folder) = self.any_folder() {
            collect(folder, &mut pids).doing(|| format!("listing {}", folder.display()))?;
        }
        Ok(pids.into_iter().collect())
    }

    /// Sends SIGKILL to all processes in the group and below it, also those being born.
    ///
    /// Returns when all are told, not when they are gone.
    pub fn kill_all(&self) -> Result<()> {
        let Some(folder) = self.any_folder() else { return Ok(()) };
        if self.is_v2() {
            match write(&folder.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                // Before 5.14, the root, or gone.
                Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => {}
                Err(errno) => {
                    return Err(errno).doing(|| format!("killing {}", folder.display()));
                }
            }
        }
        let mut told = BTreeSet::new();
        for round in 0..100 {
            // One that forks as fast as it is killed is stopped first.
            let frozen = round == 10 && self.freeze().is_ok();
            let mut now = BTreeSet::new();
            collect(folder, &mut now).doing(|| format!("listing {}", folder.display()))?;
            let fresh: Vec<u32> = now.difference(&told).copied().collect();
            for pid in &fresh {
                kill(*pid);
            }
            if frozen {
                self.thaw()?;
            }
            if fresh.is_empty() {
                // A frozen v1 group takes its signals when it goes on.
                return if self.is_frozen_v1() { self.thaw() } else { Ok(()) };
            }
            told.append(&mut now);
        }
        Err(Error::Refused(format!("{} makes processes faster than they die", folder.display())))
    }

    /// Stops everything in the group. Returns when all is stopped.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets everything in the group go on.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let Some(folder) = self.folder("freezer") else {
            return Err(Error::Refused(
                "pausing needs the cgroup controller freezer, which this node does not have".into(),
            ));
        };
        let doing =
            || format!("{} {}", if frozen { "freezing" } else { "thawing" }, folder.display());
        if self.is_v2() {
            let value = if frozen { "1" } else { "0" };
            write(&folder.join("cgroup.freeze"), value).doing(doing)?;
            return wait_v2(folder, frozen).doing(doing);
        }
        let value = if frozen { "FROZEN" } else { "THAWED" };
        let (file, end) = (folder.join("freezer.state"), Instant::now() + PATIENCE);
        loop {
            // freezer-subsystem.rst: a group with a process in the kernel stays FREEZING; writing
            // again is how runc (`fs/freezer.go`) gets it on.
            write(&file, value).doing(doing)?;
            let state = fs::read_to_string(&file).doing(doing)?;
            if state.trim() == value {
                return Ok(());
            }
            if Instant::now() > end {
                let _ = write(&file, "THAWED");
                return Err(Errno::TIMEDOUT).doing(doing);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn is_frozen_v1(&self) -> bool {
        let state = self.folder("freezer").map(|f| fs::read_to_string(f.join("freezer.state")));
        !self.is_v2() && matches!(state, Some(Ok(state)) if state.trim() != "THAWED")
    }

    /// A folder whose processes are all the container's: the same in every hierarchy.
    fn any_folder(&self) -> Option<&Path> {
        self.folder("pids").or_else(|| self.locator.folders.first().map(|f| f.path.as_path()))
    }
}

fn wait_v2(folder: &Path, frozen: bool) -> std::io::Result<()> {
    let (file, end) = (fs::File::open(folder.join("cgroup.events"))?, Instant::now() + PATIENCE);
    let line = if frozen { "frozen 1" } else { "frozen 0" };
    loop {
        let mut text = [0; 256];
        let n = rustix::io::pread(&file, &mut text, 0)?;
        if String::from_utf8_lossy(&text[..n]).lines().any(|l| l == line) {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT.into());
        }
        // kernfs says a changed file by POLLPRI.
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match rustix::event::poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn collect(folder: &Path, pids: &mut BTreeSet<u32>) -> std::io::Result<()> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok())),
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    }
    for child in children(folder)? {
        collect(&child, pids)?;
    }
    Ok(())
}

fn is_gone(e: &std::io::Error) -> bool {
    e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV)
}

fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    // A folder of a cgroup has one link for itself, one for its name, and one for each child.
    match fs::metadata(folder) {
        Ok(m) if std::os::unix::fs::MetadataExt::nlink(&m) == 2 => return Ok(Vec::new()),
        Ok(_) => {}
        Err(e) if is_gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Removes a group and those below it. What is dying in there is waited for: a process that has
/// been waited for may still be in its group for some microseconds.
pub(super) fn remove_tree(folder: &Path) -> Result<()> {
    let (end, mut pause) = (Instant::now() + PATIENCE, Duration::from_micros(50));
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(e) if is_gone(&e) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                for child in children(folder).doing(|| format!("listing {}", folder.display()))? {
                    remove_tree(&child)?;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(e) => return Err(e).doing(|| format!("removing the cgroup {}", folder.display())),
        }
    }
}
