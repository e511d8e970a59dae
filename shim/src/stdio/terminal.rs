//! A terminal: a pty whose one side is the guest's, and whose other is copied to what containerd
//! named.
//!
//! ```text
//!  stdin FIFO ──► input task ──► master ┌─────┐ slave ──► the guest's 0, 1 and 2
//! stdout FIFO ◄── output task ◄─────────│ pty │
//!                      resize ─────────►└─────┘
//! ```
//!
//! Both tasks wait for descriptors and hold at most one buffer, so a client that does not read
//! makes the guest wait, as on any terminal. The output ends with the last process that has the
//! terminal open (the master then says EIO). When the input has ended or the shim goes, its side
//! hangs up, and the kernel sends SIGHUP to the guest (containerd,
//! `cmd/containerd-shim-runc-v2/task/platform.go`, `CopyConsole`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use wherry_core::plan::{Sandbox, Terminal};

use super::{Ends, Error, Input, Kept, Streams, fifo, logger, open_at, output};
use crate::reaper::waitable;

/// As much as the kernel's buffer of a FIFO takes in one go.
const BUFFER: usize = 32 << 10;

/// The shim's side.
#[derive(Debug)]
pub(crate) struct Console {
    /// Gone when the terminal has hung up.
    master: Weak<AsyncFd<OwnedFd>>,
    output: Option<JoinHandle<()>>,
    tasks: Vec<AbortHandle>,
}

impl Console {
    pub(crate) fn resize(&self, size: Terminal) -> io::Result<()> {
        let Some(master) = self.master.upgrade() else { return Ok(()) };
        Ok(tcsetwinsize(master.get_ref(), winsize(size))?)
    }

    /// Ends when the last output has been handed on.
    pub(super) fn take_output(&mut self) -> Option<JoinHandle<()>> {
        self.output.take()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The user who owns the terminal of a process in this sandbox. None if only a user namespace that
/// was made by somebody else knows; the terminal works all the same.
pub(crate) fn owner(sandbox: &Sandbox) -> Option<u32> {
    use oci_spec::runtime::LinuxNamespaceType as Kind;
    let uid = sandbox.user.uid;
    let mapped = |map: &&wherry_core::plan::IdMapping| {
        uid.checked_sub(map.container).is_some_and(|above| above < map.size)
    };
    match sandbox.namespaces.iter().any(|n| n.kind == Kind::User) {
        false => Some(uid),
        true => {
            let map = sandbox.uid_mappings.iter().find(mapped)?;
            map.host.checked_add(uid - map.container)
        }
    }
}

pub(super) fn open(streams: Streams<'_>, size: Terminal) -> Result<(Ends, Kept), Error> {
    let failed = |errno: Errno| Error::Terminal { source: errno.into() };
    let (master, slave) = pty(size, streams.owner).map_err(failed)?;
    let kept = expect(streams)?.attach(master)?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(&slave, 0).map_err(failed);
    Ok((Ends { stdin: copy()?, stdout: copy()?, stderr: slave, terminal: true }, kept))
}

/// All of a terminal but the terminal.
#[derive(Debug)]
pub(crate) struct Pending {
    kept: Kept,
    source: Option<AsyncFd<OwnedFd>>,
    sink: Sink,
}

/// Opens what a terminal is to be copied from and to.
pub(crate) fn expect(streams: Streams<'_>) -> Result<Pending, Error> {
    let mut kept = Kept::default();
    let stdio = streams.stdio;
    let sink = match logger::binary(&stdio.stdout) {
        Some(uri) => {
            let (stdout, _, logger) = logger::start(uri, streams.namespace, streams.id)?;
            kept.logger = Some(logger);
            stdout
        }
        None => output("stdout", &stdio.stdout, &mut kept)?,
    };
    let source = match stdio.stdin.is_empty() {
        true => None,
        false => Some(input(&stdio.stdin, &mut kept)?),
    };
    let sink = Sink::new(sink).map_err(|source| Error::Terminal { source })?;
    Ok(Pending { kept, source, sink })
}

impl Pending {
    /// Copies from and to the terminal with this master from now on.
    pub(crate) fn attach(mut self, master: OwnedFd) -> Result<Kept, Error> {
        let failed = |source: io::Error| Error::Terminal { source };
        rustix::io::ioctl_fionbio(&master, true).map_err(|errno| failed(errno.into()))?;
        let both = Interest::READABLE | Interest::WRITABLE;
        let master = Arc::new(waitable(master, both).map_err(failed)?);
        let (mut tasks, hangs_up) = (Vec::new(), Arc::new(Notify::new()));
        if let Some(source) = self.source {
            let (copy, tell) = (copy_input(source, Arc::clone(&master)), Arc::clone(&hangs_up));
            let input = async move {
                copy.await;
                tell.notify_one();
            };
            tasks.push(tokio::spawn(input).abort_handle());
        }
        let output = tokio::spawn(copy_output(Arc::clone(&master), self.sink, hangs_up));
        tasks.push(output.abort_handle());
        let master = Arc::downgrade(&master);
        self.kept.console = Some(Console { master, output: Some(output), tasks });
        Ok(self.kept)
    }
}

/// The master and the slave.
fn pty(size: Terminal, owner: Option<u32>) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    if let Some(owner) = owner {
        // So that the user can open /dev/console, too (runc, `fixStdioPermissions`).
        rustix::fs::fchown(&slave, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    tcsetwinsize(&master, winsize(size))?;
    Ok((master, slave))
}

fn winsize(size: Terminal) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal's input does not end when a client detaches: the writer that is kept sees to it.
fn input(name: &str, kept: &mut Kept) -> Result<AsyncFd<OwnedFd>, Error> {
    let failed = |source| Error::Open { stream: "stdin", name: name.to_owned(), source };
    let path: &Path = fifo("stdin", name)?;
    let open = |flags| open_at(path, flags | OFlags::NONBLOCK).map_err(|e| failed(e.into()));
    let reader = open(OFlags::RDONLY)?;
    kept.stdin = Input::Held { _writer: open(OFlags::WRONLY)? };
    waitable(reader, Interest::READABLE).map_err(failed)
}

async fn copy_input(source: AsyncFd<OwnedFd>, master: Arc<AsyncFd<OwnedFd>>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = source.async_io(Interest::READABLE, |fd| read(fd, &mut buffer)).await;
        let Ok(read @ 1..) = read else { return };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match master.async_io(Interest::WRITABLE, |fd| write(fd, rest)).await {
                Ok(written) => rest = &rest[written..],
                Err(_) => return,
            }
        }
    }
}

async fn copy_output(master: Arc<AsyncFd<OwnedFd>>, mut sink: Sink, hangs_up: Arc<Notify>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = tokio::select! {
            // EIO: nobody has the terminal open any more.
            read = master.async_io(Interest::READABLE, |fd| read(fd, &mut buffer)) => read,
            () = hangs_up.notified() => {
                // What was said until now is in the terminal's own buffer, which is not larger.
                if let Ok(last @ 1..) = self::read(master.get_ref(), &mut buffer) {
                    let _ = sink.write(&buffer[..last]).await;
                }
                return;
            }
        };
        let Ok(read @ 1..) = read else { return };
        if sink.write(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buffer)?)
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, bytes)?)
}

/// Where output goes: what can be waited for, or a file, which never makes anyone wait.
#[derive(Debug)]
enum Sink {
    Pipe(AsyncFd<OwnedFd>),
    File(File),
}

impl Sink {
    fn new(fd: OwnedFd) -> io::Result<Sink> {
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_fifo() {
            rustix::io::ioctl_fionbio(&fd, true)?;
            return Ok(Sink::Pipe(waitable(fd, Interest::WRITABLE)?));
        }
        Ok(Sink::File(fd.into()))
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::File(file) => file.write_all(bytes),
            Sink::Pipe(pipe) => {
                while !bytes.is_empty() {
                    let written = pipe.async_io(Interest::WRITABLE, |fd| write(fd, bytes)).await?;
                    bytes = &bytes[written..];
                }
                Ok(())
            }
        }
    }
}
