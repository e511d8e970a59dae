//! The server: accepts connections, and stops when it is asked to.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::silence::Spoken;
use super::{Shared, request};
use crate::exit::{Exit, Reasons};
use crate::signals::{STOPPING, leave_stopping_to_service};

/// Connections that the kernel holds while we are busy.
const BACKLOG: u32 = 1024;

/// How long a service may take to finish what runs. Kubernetes kills after 30 seconds by default,
/// and is to find a service that has ended itself and said why.
const DRAIN: Duration = Duration::from_secs(25);

/// How often a silent HTTP/2 connection is asked whether anybody is there.
const PING: Duration = Duration::from_secs(30);

/// How long to wait when the process is out of descriptors, for connections to end.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

pub(super) async fn serve(address: SocketAddr, shared: Arc<Shared>, reasons: &Reasons) -> Exit {
    let (listener, mut stop) =
        match listen(address).and_then(|listener| Ok((listener, Stop::new()?))) {
            Ok(ready) => ready,
            Err(error) => {
                reasons.tell(&format!("cannot listen on {address}: {error}"));
                return Exit::FAILURE;
            }
        };
    let (connections, _) = watch::channel(());
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    // A connection whose other end is gone would hold its place for ever.
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PING);
    let places = &shared.permits.connections;
    loop {
        let next = async {
            // Never closed, so there is a place at some time.
            let place = Arc::clone(places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            _ = stop.asked() => break,
        };
        match stream {
            Ok((stream, _)) => {
                let draining = connections.subscribe();
                let connection = connect(&server, draining, stream, Arc::clone(&shared));
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
    drain(connections, stop, &shared, reasons).await
}

/// Finishes what runs: connections without a request are closed at once, others after their
/// response. Each of them holds a receiver of `connections`.
async fn drain(
    connections: watch::Sender<()>,
    mut stop: Stop,
    shared: &Shared,
    reasons: &Reasons,
) -> Exit {
    let finished = async {
        connections.send_replace(());
        connections.closed().await;
        // What guests do after their response counts, too.
        shared.permits.all_requests().await;
    };
    tokio::select! {
        () = finished => Exit::SUCCESS,
        () = tokio::time::sleep(DRAIN) => {
            reasons.tell(&format!("requests still run {} s after the signal to stop", DRAIN.as_secs()));
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
    mut draining: watch::Receiver<()>,
    stream: TcpStream,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + Send + 'static {
    // Without it small responses wait for the acknowledgement of the one before (RFC 896).
    let _ = stream.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let ask = Arc::clone(&asked);
    let handle = move |incoming| {
        ask.store(true, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(request::handle(shared, incoming).await) }
    };
    let connection = server.serve_connection(TokioIo::new(Spoken::new(stream)), service_fn(handle));
    let connection = connection.into_owned();
    async move {
        let mut connection = pin!(connection);
        tokio::select! {
            // A connection that breaks is the client's affair; the guest hears of it by its own
            // streams.
            _ = connection.as_mut() => return,
            _ = draining.changed() => connection.as_mut().graceful_shutdown(),
        }
        // hyper closes what waits for a further request, but for the rest of a first one it would
        // wait. One that is there as a whole by now is found by polling, and answered.
        poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Pending if asked.load(Ordering::Relaxed) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }
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
