//! The wire between a shim and one guest: a socket pair, JSON behind its length, descriptors.
//!
//! ```text
//! shim                                   guest
//!  │ Setup + code, stdin, stdout, stderr   │
//!  │ ────────────────────────────────────► │ namespaces, mounts
//!  │                     RunRuntimeHooks   │
//!  │ ◄──────────────────────────────────── │ only if there are such hooks
//!  │ HooksDone | HooksFailed               │
//!  │ ────────────────────────────────────► │ pivot, drop privileges, load the code
//!  │                     Ready | Refused   │
//!  │ ◄──────────────────────────────────── │
//!  │ Start                                 │
//!  │ ────────────────────────────────────► │ the guest's first instruction
//! ```
//!
//! A wire that closes means that the other side is gone. The guest blocks on it; the shim waits
//! for readability with whatever it has and calls [`Channel::try_receive`], which never blocks.

mod outgoing;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use oci_spec::runtime::Hooks;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wherry_core::plan;

pub use outgoing::Outgoing;

use crate::error::Doing;
use crate::{Error, Result, hooks};

/// Where the guest finds its end of the wire: [`crate::spawn`] puts it there.
pub const GUEST_FD: RawFd = 3;

/// A frame longer than this is not ours. A spec with every mount and filter is below 100 KB.
const MAX_FRAME: usize = 16 << 20;

/// The kernel's bound for descriptors in one message (`SCM_MAX_FD`).
const MAX_FDS: usize = 253;

/// What the shim says.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToGuest {
    /// First. Carries the descriptors of [`SetupFds`].
    Setup(Box<Setup>),
    /// The answer to [`ToShim::RunRuntimeHooks`].
    HooksDone,
    HooksFailed {
        message: String,
    },
    /// Run the program now.
    Start,
}

/// What the guest says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToShim {
    /// Namespaces and mounts stand and the root is not yet changed: the point at which `prestart`
    /// and `createRuntime` hooks run, in the shim's namespaces.
    RunRuntimeHooks,
    /// Confined, loaded and linked: waiting for [`ToGuest::Start`].
    Ready,
    /// It will not run, and this is why.
    Refused { message: String },
}

/// Everything the guest has to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    pub sandbox: plan::Sandbox,
    pub run: plan::Run,
    /// The guest runs `createContainer` and `startContainer` itself.
    pub hooks: Hooks,
    /// The state that hooks read, with the pid as the runtime sees it.
    pub state: hooks::State,
    pub profile: plan::Profile,
    /// Standard input is a pty: make it the controlling terminal and `/dev/console`.
    pub terminal: bool,
    /// Whether [`SetupFds::memory`] is there.
    pub memory: bool,
}

/// The descriptors that travel with [`Setup`].
#[derive(Debug)]
pub struct SetupFds {
    /// The compiled code, read-only.
    pub code: OwnedFd,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// The file that tells the memory limit of the cgroup ([`crate::cgroup::Cgroup::memory_limit`]).
    pub memory: Option<OwnedFd>,
    /// What [`crate::spawn`] opened for the guest, in its order.
    pub sources: Vec<OwnedFd>,
}

impl SetupFds {
    fn all(&self) -> Vec<BorrowedFd<'_>> {
        let mut all =
            vec![self.code.as_fd(), self.stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()];
        all.extend(self.memory.iter().map(AsFd::as_fd));
        all.extend(self.sources.iter().map(AsFd::as_fd));
        all
    }

    /// Puts the streams at 0, 1 and 2, where programs look for them.
    pub fn install_streams(&self) -> Result<()> {
        rustix::stdio::dup2_stdin(&self.stdin)
            .and_then(|()| rustix::stdio::dup2_stdout(&self.stdout))
            .and_then(|()| rustix::stdio::dup2_stderr(&self.stderr))
            .doing(|| "installing the standard streams".into())
    }
}

/// What [`Channel::try_receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    Message(T),
    /// Nothing yet, or only a part: wait until the descriptor is readable.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// One end of the wire.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Channel {
    /// A connected pair, both closed on exec.
    pub fn pair() -> Result<(Channel, Channel)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .doing(|| "making a socket pair for the guest".into())?;
        Ok((Channel::from(a), Channel::from(b)))
    }

    /// The guest's end, which [`crate::spawn`] left at [`GUEST_FD`]. Call it once, first thing.
    pub fn inherited() -> Result<Channel> {
        // SAFETY: spawn puts the wire at this number and closes all other descriptors; a program
        // started otherwise has nothing there or something that is no socket, and is told so.
        let fd = unsafe { BorrowedFd::borrow_raw(GUEST_FD) };
        rustix::net::sockopt::socket_type(fd).doing(|| {
            format!("descriptor {GUEST_FD} is not a wire: this program is started by the shim only")
        })?;
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)
            .doing(|| "marking the wire close-on-exec".into())?;
        // SAFETY: nothing else in this process owns the descriptor, by the contract above.
        Ok(Channel::from(unsafe { OwnedFd::from_raw_fd(GUEST_FD) }))
    }

    /// This end at [`GUEST_FD`], and no other descriptors but the streams in this process: for a
    /// fork that goes on by itself, whose copies of descriptors would keep others waiting.
    pub(crate) fn alone(self) -> Result<Channel> {
        crate::sys::place(self.fd.as_raw_fd(), GUEST_FD).doing(|| "placing the wire".into())?;
        // What owned the other descriptors stays behind in the parent, or is never dropped.
        std::mem::forget(self);
        crate::sys::close_from(GUEST_FD as u32 + 1)
            .doing(|| "closing all other descriptors".into())?;
        Channel::inherited()
    }

    /// Sends one message whole. Waits while the socket is full; a frame normally fits.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let frame = frame(message)?;
        let mut sent = 0;
        while sent < frame.len() {
            // The descriptors travel with the first byte.
            let fds = if sent == 0 { fds } else { &[] };
            match self.send_some(&frame[sent..], fds, SendFlags::NOSIGNAL)? {
                0 => self.wait(rustix::event::PollFlags::OUT)?,
                n => sent += n,
            }
        }
        Ok(())
    }

    /// How many of the bytes the socket took; none if it is full and is not to be waited for.
    fn send_some(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> Result<usize> {
        let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(fds).size()];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Error::Refused(format!(
                "{} descriptors are too many for one message; the kernel takes {MAX_FDS}",
                fds.len()
            )));
        }
        let bytes = [IoSlice::new(bytes)];
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.fd, &bytes, &mut ancillary, flags)
        });
        match sent {
            Err(Errno::AGAIN) => Ok(0),
            sent => sent.doing(|| "sending on the wire".into()),
        }
    }

    /// Sends [`ToGuest::Setup`] with its descriptors. Waits as [`Channel::send`] does;
    /// [`Outgoing::setup`] does not.
    pub fn send_setup(&self, mut setup: Setup, fds: &SetupFds) -> Result<()> {
        setup.memory = fds.memory.is_some();
        self.send(&ToGuest::Setup(Box::new(setup)), &fds.all())
    }

    /// The next message; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            match self.try_receive()? {
                Received::Message(message) => return Ok(Some(message)),
                Received::Closed => return Ok(None),
                Received::Nothing => self.wait(rustix::event::PollFlags::IN)?,
            }
        }
    }

    /// The guest's first message and its descriptors.
    pub fn receive_setup(&mut self) -> Result<(Setup, SetupFds)> {
        let setup = match self.receive()? {
            Some(ToGuest::Setup(setup)) => *setup,
            Some(_) => return Err(Error::Peer("the shim's first message was no setup".into())),
            None => return Err(Error::Peer("the shim is gone".into())),
        };
        let mut next =
            || self.fds.pop_front().ok_or_else(|| Error::Peer("a descriptor is missing".into()));
        let (code, stdin, stdout, stderr) = (next()?, next()?, next()?, next()?);
        let memory = if setup.memory { Some(next()?) } else { None };
        let sources = self.fds.drain(..).collect();
        Ok((setup, SetupFds { code, stdin, stdout, stderr, memory, sources }))
    }

    /// The next message if it is there already. Never blocks.
    pub fn try_receive<T: DeserializeOwned>(&mut self) -> Result<Received<T>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                let message = serde_json::from_slice(&frame)
                    .map_err(|e| Error::Peer(format!("a message on the wire is not ours: {e}")))?;
                return Ok(Received::Message(message));
            }
            match self.read_some() {
                Ok(0) => return Ok(Received::Closed),
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                // A peer that died with unread data resets the connection: gone all the same.
                Err(Errno::CONNRESET) => return Ok(Received::Closed),
                Err(errno) => return Err(errno).doing(|| "reading the wire".into()),
            }
        }
    }

    fn read_some(&mut self) -> rustix::io::Result<usize> {
        let mut chunk = [0; 32 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(
                &self.fd,
                &mut [IoSliceMut::new(&mut chunk)],
                &mut ancillary,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&chunk[..received.bytes]);
        Ok(received.bytes)
    }

    fn take_frame(&mut self) -> Result<Option<Vec<u8>>> {
        let Some((head, _)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(Error::Peer(format!("a frame of {length} bytes on the wire is not ours")));
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(4 + length);
        let mut frame = std::mem::replace(&mut self.bytes, rest);
        frame.drain(..4);
        Ok(Some(frame))
    }

    fn wait(&self, for_what: rustix::event::PollFlags) -> Result<()> {
        let mut fds = [rustix::event::PollFd::new(&self.fd, for_what)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).doing(|| "waiting on the wire".into()),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Channel {
        Channel { fd, bytes: Vec::new(), fds: VecDeque::new() }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A message as it travels: its length, little-endian, and its JSON.
pub(crate) fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)
        .map_err(|e| Error::Peer(format!("a message does not become JSON: {e}")))?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|n| *n as usize <= MAX_FRAME);
    let length = length.ok_or_else(|| Error::Refused("the spec is larger than 16 MiB".into()))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_and_descriptors_in_order() {
        let (shim, mut guest) = Channel::pair().unwrap();
        let files: Vec<_> = (0..5).map(|_| tempfile::tempfile().unwrap()).collect();
        let long = ToGuest::HooksFailed { message: "x".repeat(400_000) };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
                shim.send(&long, &fds).unwrap();
                shim.send(&ToGuest::Start, &[]).unwrap();
            });
            let Some(ToGuest::HooksFailed { message }) = guest.receive().unwrap() else { panic!() };
            assert_eq!(message.len(), 400_000);
            assert!(matches!(guest.receive().unwrap(), Some(ToGuest::Start)));
        });
        assert_eq!(guest.fds.len(), 5);
        for (sent, received) in files.iter().zip(&guest.fds) {
            let (a, b) = (rustix::fs::fstat(sent).unwrap(), rustix::fs::fstat(received).unwrap());
            assert_eq!(a.st_ino, b.st_ino);
        }
    }

    #[test]
    fn an_empty_wire_says_nothing_and_a_closed_one_says_so() {
        let (mut shim, guest) = Channel::pair().unwrap();
        assert_eq!(shim.try_receive::<ToShim>().unwrap(), Received::Nothing);
        guest.send(&ToShim::Ready, &[]).unwrap();
        drop(guest);
        assert_eq!(shim.try_receive().unwrap(), Received::Message(ToShim::Ready));
        assert_eq!(shim.try_receive::<ToShim>().unwrap(), Received::Closed);
    }
}
