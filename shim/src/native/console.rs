//! How runc hands over the terminal that it made: a socket on which it sends the master
//! (runc, `docs/terminals.md`, "Detached").

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::IoSliceMut;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, accept_with, recvmsg,
};
use wherry_cache::RUN;

/// runc has sent it by the time it ends.
const PATIENCE: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    Path::new(RUN).join("console")
}

/// Removes the sockets of shims that were killed: a socket is named by its shim's pid.
pub(crate) fn remove_dead() {
    for socket in std::fs::read_dir(folder()).into_iter().flatten().flatten() {
        let name = socket.file_name();
        let pid = name.to_str().and_then(|name| name.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_file(socket.path());
        }
    }
}

#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    listener: UnixListener,
}

impl Console {
    /// In a folder with a short name: a bundle's may be longer than a socket's may be.
    pub(super) fn listen() -> io::Result<Console> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = folder();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{n}", std::process::id()));
        // Of a shim that is gone, with our pid.
        let _ = std::fs::remove_file(&path);
        Ok(Console { listener: UnixListener::bind(&path)?, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The master, sent meanwhile.
    pub(super) fn receive(&self) -> io::Result<OwnedFd> {
        wait(&self.listener)?;
        let stream = accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        wait(&stream)?;
        // The name of the terminal comes with it.
        let mut name = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut name)];
        recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let missing = || io::Error::other("runc has sent no terminal");
        fds.flatten().next().ok_or_else(missing)
    }
}

fn wait(fd: &impl std::os::fd::AsFd) -> io::Result<()> {
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)))? {
        0 => Err(io::Error::from(io::ErrorKind::TimedOut)),
        _ => Ok(()),
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
