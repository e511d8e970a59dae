//! Outgoing `wasi:http` requests.
//!
//! Wasmtime's own sender is never used: it trusts a list of its own, and connects past every check
//! of addresses.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};
use wherry_core::plan::Run;

use super::tls;

/// For guests that set no timeouts. As long as Wasmtime's own.
const PATIENCE: Duration = Duration::from_secs(600);

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Sends requests of guests. Cheap to clone; the clones share the list of whom to trust.
#[derive(Clone)]
pub(crate) struct Outgoing(Arc<Trust>);

struct Trust {
    /// The guest's `SSL_CERT_FILE`.
    named: Option<String>,
    /// Read when the first request needs it: most guests never do.
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Outgoing {
    pub(crate) fn new(run: &Run) -> Outgoing {
        let named = run.env.iter().find(|(name, _)| name == "SSL_CERT_FILE");
        let named = named.map(|(_, path)| path.clone()).filter(|path| !path.is_empty());
        Outgoing(Arc::new(Trust { named, config: OnceLock::new() }))
    }
}

impl Trust {
    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let config = self.config.get_or_init(|| tls::config(self.named.as_deref()));
        config.clone().map_err(|error| {
            // The guest learns a code only; the reason is for whoever made the image.
            eprintln!("wherry: outgoing TLS cannot be set up: {error}");
            Error::ConfigurationError
        })
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(send(Arc::clone(&self.0), request, options.unwrap_or_default()))
    }
}

async fn send(
    trust: Arc<Trust>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Sent, Error> {
    let authority = request.uri().authority().cloned().ok_or(Error::HttpRequestUriInvalid)?;
    let encrypted = request.uri().scheme() == Some(&Scheme::HTTPS);
    // The server is addressed by the connection; the whole URI is for proxies (RFC 9112 §3.2).
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));

    let connecting = connect(&trust, &authority, encrypted);
    let (mut sender, connection) = timeout(options.connect_timeout.unwrap_or(PATIENCE), connecting)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let mut connection = Box::pin(connection);

    // The connection makes progress only while it is polled.
    let first_byte = options.first_byte_timeout.unwrap_or(PATIENCE);
    let sending = pin!(timeout(first_byte, sender.send_request(request)));
    let mut open = true;
    let response = match select(sending, &mut connection).await {
        Either::Left((response, _)) => response,
        Either::Right((ended, sending)) => {
            open = false;
            ended.map_err(from_hyper)?;
            sending.await
        }
    };
    let response = response.map_err(|_| Error::ConnectionReadTimeout)?.map_err(from_hyper)?;
    let between = options.between_bytes_timeout.unwrap_or(PATIENCE);
    let response = response.map(|body| ResponseBody::new(body, between).boxed_unsync());
    let rest = async move { if open { connection.await.map_err(from_hyper) } else { Ok(()) } };
    Ok((response, Box::new(rest)))
}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, WasiBody>;

async fn connect(
    trust: &Trust,
    authority: &Authority,
    encrypted: bool,
) -> Result<(http1::SendRequest<WasiBody>, Connection), Error> {
    let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = connect_to(&resolve(host, port).await?).await?;
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Stream> = if encrypted {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let connector = TlsConnector::from(trust.config()?);
        Box::new(connector.connect(name, stream).await.map_err(from_tls)?)
    } else {
        Box::new(stream)
    };
    http1::handshake(TokioIo::new(stream)).await.map_err(from_hyper)
}

/// The C library's resolver, which reads the container's `/etc/hosts` and `/etc/resolv.conf` anew
/// for each name (musl).
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let unknown = |reason: String| Error::DnsError { rcode: Some(reason), info_code: None };
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(unknown("no address".to_owned()));
    }
    Ok(addresses)
}

/// The first address that answers.
async fn connect_to(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = from_connect(error),
        }
    }
    Err(last)
}

fn from_connect(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::ConnectionReset => Error::ConnectionTerminated,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationIpUnroutable
        }
        io::ErrorKind::PermissionDenied => Error::DestinationIpProhibited,
        _ => Error::DestinationUnavailable,
    }
}

fn from_tls(error: io::Error) -> Error {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match reason {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some((*alert).into()),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

fn from_hyper(error: hyper::Error) -> Error {
    if error.is_timeout() {
        return Error::HttpResponseTimeout;
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    // The guest's own body failed: its error comes back to it.
    if error.is_user() {
        return Error::InternalError(Some(error.to_string()));
    }
    if error.is_closed() || error.is_canceled() {
        return Error::ConnectionTerminated;
    }
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
    match source.map(io::Error::kind) {
        Some(_) => Error::ConnectionTerminated,
        None => Error::HttpProtocolError,
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A response's body that fails when the server falls silent.
struct ResponseBody {
    incoming: Incoming,
    between: Duration,
    silence: Pin<Box<Sleep>>,
}

impl ResponseBody {
    fn new(incoming: Incoming, between: Duration) -> ResponseBody {
        ResponseBody { incoming, between, silence: Box::pin(sleep(between)) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                let deadline = Instant::now() + this.between;
                this.silence.as_mut().reset(deadline);
                Poll::Ready(frame.map(|frame| frame.map_err(from_hyper)))
            }
            Poll::Pending => {
                ready!(this.silence.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
