//! The guest's streams: descriptors 0, 1 and 2, read and written directly.
//!
//! Nothing is buffered here, so nothing is lost at exit, and nothing is read ahead, so what a
//! guest leaves unread stays in the pipe. No descriptor is switched to non-blocking mode: the flag
//! belongs to the open file, which other processes may share. A descriptor that comes in
//! non-blocking mode is waited for.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The most that is read at once: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// What a pipe takes without blocking once it says that it is writable (`pipe(7)`, PIPE_BUF).
const ATOMIC_BYTES: usize = 4096;

/// The most that is offered to a guest which may block.
const WRITE_BYTES: usize = 1024 * 1024;

/// What a slow reader of an output holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The process: it has only one guest.
    Block,
    /// The guest that writes, while others on the same thread go on.
    Yield,
}

/// How a guest hears that nobody reads its output any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// As the error that it is, for preview 1, where a closed stream would become EIO.
    Errno,
    /// As a closed stream, for components, whose libc makes EPIPE of it.
    Closed,
}

/// The three streams of this process, shared by all its guests.
#[derive(Clone)]
pub(crate) struct Streams {
    stdin: Arc<Stream>,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
}

impl Streams {
    pub(crate) fn new(hangup: Hangup) -> Streams {
        let stream = |descriptor, interest| {
            Arc::new(Stream { descriptor, interest, hangup, registered: OnceLock::new() })
        };
        Streams {
            stdin: stream(0, Interest::READABLE),
            stdout: stream(1, Interest::WRITABLE),
            stderr: stream(2, Interest::WRITABLE),
        }
    }

    pub(crate) fn stdin(&self) -> impl StdinStream + use<> {
        Input(Arc::clone(&self.stdin))
    }

    pub(crate) fn stdout(&self, patience: Patience) -> impl StdoutStream + use<> {
        Output { stream: Arc::clone(&self.stdout), patience }
    }

    pub(crate) fn stderr(&self, patience: Patience) -> impl StdoutStream + use<> {
        Output { stream: Arc::clone(&self.stderr), patience }
    }
}

struct Input(Arc<Stream>);

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Reader::new(&self.0))
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Reader::new(&self.0))
    }
}

struct Reader {
    stream: Arc<Stream>,
    waiting: Waiting,
}

impl Reader {
    fn new(stream: &Arc<Stream>) -> Reader {
        Reader { stream: Arc::clone(stream), waiting: Waiting::default() }
    }

    /// One read; `None` if there was nothing after all.
    fn read_now(&self, buffer: &mut [u8]) -> Option<nix::Result<usize>> {
        match nix::unistd::read(self.stream.fd(), buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            // The other end of a pty is gone: its input ends (`pty(7)`).
            Err(Errno::EIO) if self.stream.is_terminal() => Some(Ok(0)),
            result => Some(result),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !self.stream.is_ready() {
            return Ok(Bytes::new());
        }
        let mut bytes = BytesMut::zeroed(size.min(READ_BYTES));
        match self.read_now(&mut bytes) {
            None => Ok(Bytes::new()),
            Some(Ok(0)) => Err(StreamError::Closed),
            Some(Ok(length)) => {
                bytes.truncate(length);
                Ok(bytes.freeze())
            }
            Some(Err(errno)) => Err(self.stream.failed(errno)),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            ready!(this.waiting.poll_ready(&this.stream, context));
            if let Some(result) = this.read_now(buffer.initialize_unfilled()) {
                buffer.advance(result?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

struct Output {
    stream: Arc<Stream>,
    patience: Patience,
}

impl Output {
    fn writer(&self) -> Writer {
        Writer {
            stream: Arc::clone(&self.stream),
            patience: self.patience,
            waiting: Waiting::default(),
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.stream.is_terminal()
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

struct Writer {
    stream: Arc<Stream>,
    patience: Patience,
    waiting: Waiting,
}

impl Writer {
    /// How much may be written now; `None` if that is nothing.
    fn room(&self) -> Option<usize> {
        match self.patience {
            Patience::Block => Some(WRITE_BYTES),
            Patience::Yield => self.stream.is_ready().then_some(ATOMIC_BYTES),
        }
    }

    /// One write, however long it takes.
    fn write_now(&self, bytes: &[u8]) -> nix::Result<usize> {
        loop {
            match nix::unistd::write(self.stream.fd(), bytes) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.stream.wait(),
                result => return result,
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if self.room().is_none() {
            self.stream.ready().await;
        }
    }
}

impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.room().unwrap_or(0))
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = self.write_now(rest).map_err(|errno| self.stream.failed(errno))?;
            rest = &rest[length..];
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let this = &mut *self;
            if let Some(room) = this.room() {
                let length = this.write_now(&bytes[..bytes.len().min(room)])?;
                return Poll::Ready(Ok(length));
            }
            ready!(this.waiting.poll_ready(&this.stream, context));
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One of the descriptors 0, 1 and 2, which stay open as long as the process lives.
struct Stream {
    descriptor: RawFd,
    interest: Interest,
    hangup: Hangup,
    /// Registered with the runtime when somebody waits for the first time. `None` for what epoll
    /// refuses (regular files, `/dev/null`): these are always ready.
    registered: OnceLock<Option<AsyncFd<BorrowedFd<'static>>>>,
}

impl Stream {
    #[allow(unsafe_code)]
    fn fd(&self) -> BorrowedFd<'static> {
        // SAFETY: descriptors 0, 1 and 2 are never closed in this process.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }

    fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.fd())
    }

    fn failed(&self, errno: Errno) -> StreamError {
        match (errno, self.hangup) {
            (Errno::EPIPE, Hangup::Closed) => StreamError::Closed,
            (errno, _) => StreamError::LastOperationFailed(io::Error::from(errno).into()),
        }
    }

    /// Whether an operation would not block. An error or a hang-up is an answer, too.
    fn is_ready(&self) -> bool {
        self.poll(PollTimeout::ZERO)
    }

    fn wait(&self) {
        self.poll(PollTimeout::NONE);
    }

    fn poll(&self, timeout: PollTimeout) -> bool {
        let events =
            if self.interest.is_readable() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        let mut set = [PollFd::new(self.fd(), events)];
        // A failing poll must not become an endless wait: the operation itself tells the reason.
        poll(&mut set, timeout).map_or(true, |ready| ready > 0)
    }

    /// Waits until [`Stream::is_ready`]. The runtime hears of changes only (`EPOLLET`) and trusts
    /// that we read until nothing is left, which a descriptor in blocking mode does not allow; so
    /// the truth is asked of `poll(2)`, and the runtime only tells when to ask again.
    async fn ready(&self) {
        while !self.is_ready() {
            let Some(descriptor) = self.registered() else { return };
            let Ok(mut guard) = descriptor.ready(self.interest).await else { return };
            if self.is_ready() {
                return;
            }
            guard.clear_ready();
        }
    }

    #[allow(unsafe_code)]
    fn registered(&self) -> Option<&AsyncFd<BorrowedFd<'static>>> {
        let register = || {
            // SAFETY: the descriptor stays open and the same as long as the process lives.
            unsafe { AsyncFd::register_with_interest(self.fd(), self.interest) }.ok()
        };
        self.registered.get_or_init(register).as_ref()
    }
}

/// [`Stream::ready`] for callers that poll. Several may wait for one stream, and the runtime's own
/// polling functions wake only the last of them.
#[derive(Default)]
struct Waiting(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Waiting {
    fn poll_ready(&mut self, stream: &Arc<Stream>, context: &mut Context<'_>) -> Poll<()> {
        // Nobody else has it: the mutex only makes it `Sync`.
        let slot = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            if stream.is_ready() {
                return Poll::Ready(());
            }
            let stream = Arc::clone(stream);
            *slot = Some(Box::pin(async move { stream.ready().await }));
        }
        if let Some(waiting) = slot {
            ready!(waiting.as_mut().poll(context));
        }
        *slot = None;
        Poll::Ready(())
    }
}
