//! Who is connected. containerd's client may take the end of a connection for the answer that came just before it
//! (Go ttrpc, `client.go`, `dispatch` selects among both), so a shim that leaves waits until its clients have hung up.

use std::io;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// How many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Open>);

#[derive(Debug, Default)]
struct Open {
    number: AtomicUsize,
    fewer: Notify,
}

impl Connections {
    /// Must be called within a runtime.
    pub(crate) fn listen(&self, listener: UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Listener::new(Incoming { listener, open: Arc::clone(&self.0) }))
    }

    /// Until nobody is connected, but no longer than this.
    pub(crate) async fn closed(&self, limit: Duration) {
        let none = async {
            while self.0.number.load(Ordering::Relaxed) > 0 {
                self.0.fewer.notified().await;
            }
        };
        let _ = tokio::time::timeout(limit, none).await;
    }
}

struct Incoming {
    listener: tokio::net::UnixListener,
    open: Arc<Open>,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.listener.poll_accept(cx));
        let connection = accepted.map(|(stream, _)| {
            self.open.number.fetch_add(1, Ordering::Relaxed);
            Connection { stream, open: Arc::clone(&self.open) }
        });
        Poll::Ready(Some(connection))
    }
}

/// One of them, until it is dropped.
struct Connection {
    stream: UnixStream,
    open: Arc<Open>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.number.fetch_sub(1, Ordering::Relaxed);
        // Remembered, if nobody waits just now.
        self.open.fewer.notify_one();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn the_last_client_is_waited_for_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("s");
        let connections = Connections::default();
        let listener = UnixListener::bind(&path).expect("bound");
        let mut listener = connections.listen(listener).expect("heard");
        let client = UnixStream::connect(&path).await.expect("connected");
        let mut next = Pin::new(&mut listener);
        let accepted = std::future::poll_fn(|cx| next.as_mut().poll_next(cx)).await;
        let accepted = accepted.expect("never ends").expect("accepted");
        let begun = Instant::now();
        connections.closed(Duration::from_millis(50)).await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "it is still there");
        drop((client, accepted));
        connections.closed(Duration::from_secs(60)).await;
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
