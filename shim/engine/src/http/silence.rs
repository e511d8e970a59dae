//! Connections that never say a word are closed, so that they hold no place for ever.
//!
//! hyper has a limit for the time that headers take, but none until the first bytes tell it of
//! which version they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// As hyper has it for headers.
const SILENCE: Duration = Duration::from_secs(30);

/// A stream whose first bytes must come in time.
pub(super) struct Spoken<S> {
    stream: S,
    /// Until they have come.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Spoken<S> {
    pub(super) fn new(stream: S) -> Spoken<S> {
        Spoken { stream, patience: Some(Box::pin(tokio::time::sleep(SILENCE))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.patience = None;
            return read;
        }
        match &mut self.patience {
            Some(patience) => {
                patience.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn silence_ends_a_connection_and_a_word_keeps_it() {
        let (silent, _far) = tokio::io::duplex(8);
        let error = Spoken::new(silent).read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (near, mut far) = tokio::io::duplex(8);
        let mut spoken = Spoken::new(near);
        far.write_all(b"G").await.unwrap();
        assert_eq!(spoken.read(&mut [0]).await.unwrap(), 1);
        let waiting = tokio::time::timeout(2 * SILENCE, spoken.read(&mut [0])).await;
        assert!(waiting.is_err(), "{waiting:?}");
    }
}
