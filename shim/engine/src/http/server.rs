//! The server: accepts connections, and stops when it is asked to.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

use super::silence::Spoken;
use super::{Shared, request};
use crate::exit::{Exit, tell};
use crate::signals::{STOPPING, leave_stopping_to_service};

/// Connections that the kernel holds while we are busy.
const BACKLOG: u32 = 1024;

/// How long a service may take to finish what runs. Kubernetes kills after 30 seconds by default.
const DRAIN: Duration = Duration::from_secs(30);

/// How long to wait when the process is out of descriptors, for connections to end.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

pub(super) async fn serve(address: SocketAddr, shared: Arc<Shared>) -> Exit {
    let (listener, mut stop) =
        match listen(address).and_then(|listener| Ok((listener, Stop::new()?))) {
            Ok(ready) => ready,
            Err(error) => {
                tell(&format!("cannot listen on {address}: {error}"));
                return Exit::FAILURE;
            }
        };
    let connections = GracefulShutdown::new();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let places = Arc::new(Semaphore::new(shared.places.connections));
    loop {
        let next = async {
            // Never closed, so there is a place at some time.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            _ = stop.asked() => break,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = connect(&server, &connections, stream, Arc::clone(&shared));
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The connection was gone before we took it (`accept(2)`).
            Err(error) if is_of_connection(&error) => {}
            Err(_) => tokio::time::sleep(OUT_OF_DESCRIPTORS).await,
        }
    }
    drop(listener);
    drain(connections, stop, &shared).await
}

/// Finishes what runs: idle connections are closed at once, others after their response.
async fn drain(connections: GracefulShutdown, mut stop: Stop, shared: &Shared) -> Exit {
    let all = u32::try_from(shared.places.requests).unwrap_or(u32::MAX);
    let finished = async {
        connections.shutdown().await;
        // What guests do after their response counts, too.
        let _ = shared.permits.acquire_many(all).await;
    };
    tokio::select! {
        () = finished => Exit::SUCCESS,
        () = tokio::time::sleep(DRAIN) => {
            tell(&format!("requests still run {} s after the signal to stop", DRAIN.as_secs()));
            Exit::SUCCESS
        }
        signal = stop.asked() => Exit::signalled(signal),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn connect(
    server: &auto::Builder<TokioExecutor>,
    connections: &GracefulShutdown,
    stream: TcpStream,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + Send + 'static {
    // Without it small responses wait for the acknowledgement of the one before (RFC 896).
    let _ = stream.set_nodelay(true);
    let handle = move |incoming| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(request::handle(shared, incoming).await) }
    };
    let connection = server.serve_connection(TokioIo::new(Spoken::new(stream)), service_fn(handle));
    let watched = connections.watch(connection.into_owned());
    // A connection that breaks is the client's affair; the guest hears of it by its own streams.
    async move { drop(watched.await) }
}

/// The signals that ask a service to stop.
struct Stop(Vec<(i32, Signal)>);

impl Stop {
    fn new() -> io::Result<Stop> {
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        let stop = STOPPING.into_iter().map(listen).collect::<io::Result<_>>().map(Stop)?;
        leave_stopping_to_service();
        Ok(stop)
    }

    /// The number of the signal that came.
    async fn asked(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}
