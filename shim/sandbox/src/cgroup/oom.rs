//! Whether the kernel killed something of a group for want of memory.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::event::EventfdFlags;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

use super::{Cgroup, write};
use crate::error::Doing;
use crate::{Error, Result};

/// Tells that the kernel may have killed something for want of memory: poll for readability,
/// [`OomWatch::clear`], then ask [`Cgroup::oom_kills`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    /// v1: the kernel keeps the registration as long as this is open.
    control: Option<fs::File>,
}

impl Cgroup {
    /// Processes that the kernel killed in this group for want of memory. A group that is gone, or
    /// has no memory controller, counts none.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(folder) = self.folder("memory") else { return Ok(0) };
        let file = folder.join(if self.is_v2() { "memory.events" } else { "memory.oom_control" });
        match fs::read_to_string(&file) {
            Ok(text) => Ok(count(&text)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(0),
            Err(e) => Err(e).doing(|| format!("reading {}", file.display())),
        }
    }

    /// A descriptor that becomes readable when something may have been killed.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let Some(folder) = self.folder("memory") else {
            return Err(Error::Refused(
                "watching for want of memory needs the cgroup controller memory, which this node \
                 does not have"
                    .into(),
            ));
        };
        let doing = || format!("watching {} for want of memory", folder.display());
        if self.is_v2() {
            let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).doing(doing)?;
            add_watch(&fd, folder.join("memory.events"), WatchFlags::MODIFY).doing(doing)?;
            return Ok(OomWatch { fd, control: None });
        }
        watch_v1(folder).doing(doing)
    }
}

/// cgroup-v1/memory.rst, "OOM Control": eventfd and control file, registered by their numbers.
fn watch_v1(folder: &Path) -> std::io::Result<OomWatch> {
    let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = fs::File::open(folder.join("memory.oom_control"))?;
    let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    write(&folder.join("cgroup.event_control"), &line)?;
    Ok(OomWatch { fd, control: Some(control) })
}

fn count(text: &str) -> u64 {
    let find = |line: &str| line.strip_prefix("oom_kill ").and_then(|n| n.trim().parse().ok());
    text.lines().find_map(find).unwrap_or(0)
}

impl OomWatch {
    /// v1 tells that memory has run out before it looks for whom to kill: the kill is counted a moment later. v2 tells
    /// of the count itself.
    pub fn comes_before_the_count(&self) -> bool {
        self.control.is_some()
    }

    /// Takes the events off, so that the descriptor waits for the next one. Never blocks.
    pub fn clear(&self) {
        let mut events = [0; 4096];
        // Nothing there is what we want in the end.
        while rustix::io::read(&self.fd, &mut events).is_ok_and(|n| n == events.len()) {}
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_formats() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(count("low 0\nhigh 0\nmax 2\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(count(""), 0);
    }
}
