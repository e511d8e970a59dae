//! gRPC over a Unix socket, as much of it as a few calls take ("gRPC over HTTP2", grpc/grpc
//! `doc/PROTOCOL-HTTP2.md`): each message has five bytes in front of it, the status comes last, in
//! trailers, or with the headers where there is no body.

pub mod cri;

use std::fmt;
use std::io;
use std::path::Path;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

/// containerd sends content in parts of a megabyte, and never more than 16 MB in one message.
const MESSAGE_BYTES: usize = 32 << 20;

#[derive(Debug)]
pub struct Connection {
    send: SendRequest<Full<Bytes>>,
    namespace: String,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    NotFound(String),
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotFound(why) | Failure::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Failure {
        Failure::Other(format!("the connection to containerd failed: {error}"))
    }
}

impl Connection {
    /// Connects to the socket at `address`, for calls in one of containerd's namespaces.
    ///
    /// # Errors
    /// Nobody listens there, or not in HTTP/2.
    pub async fn open(address: &Path, namespace: &str) -> Result<Connection, Failure> {
        let text = address.to_string_lossy();
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(&text));
        let socket = UnixStream::connect(path).await.map_err(|e| {
            Failure::Other(format!("can't connect to containerd at {}: {e}", path.display()))
        })?;
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            // A layer is megabytes: let it flow.
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(8 << 20)
            .handshake(TokioIo::new(socket))
            .await?;
        // It ends with the process; its errors are those of the calls.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { send, namespace: namespace.to_owned() })
    }

    /// Calls, and waits for the one answer.
    ///
    /// # Errors
    /// The other side's, or what became of the connection.
    pub async fn unary<M: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<M, Failure> {
        let mut answer = None;
        self.stream(method, request, |message| {
            answer = Some(message);
            Ok(())
        })
        .await?;
        answer.ok_or_else(|| Failure::Other(format!("containerd answered {method} with nothing")))
    }

    /// Calls, and gives each message of the answer to `take`.
    ///
    /// # Errors
    /// The other side's, what became of the connection, or what `take` says.
    pub async fn stream<M: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
        mut take: impl FnMut(M) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let request = Request::post(format!("http://containerd{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &self.namespace)
            .body(Full::new(framed(request)))
            .map_err(|e| Failure::Other(format!("can't ask containerd: {e}")))?;
        let answer = self.send.send_request(request).await?;
        if answer.headers().contains_key("grpc-status") {
            return status(answer.headers());
        }
        let mut body: Incoming = answer.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => buffer.extend_from_slice(&data),
                Err(frame) => match frame.trailers_ref() {
                    Some(trailers) => return status(trailers),
                    None => continue,
                },
            }
            while let Some(message) = unframed(&mut buffer)? {
                let message = M::decode(&*message).map_err(|e| {
                    Failure::Other(format!("containerd's answer to {method} is broken: {e}"))
                })?;
                take(message).map_err(|e| Failure::Other(e.to_string()))?;
            }
        }
        Err(Failure::Other(format!("containerd's answer to {method} has no status")))
    }
}

fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut bytes = vec![0];
    // Requests are a name or a digest.
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// Takes one whole message off the front.
fn unframed(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
    let &[compressed, a, b, c, d, ref rest @ ..] = buffer.as_slice() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if compressed != 0 || length > MESSAGE_BYTES {
        return Err(Failure::Other(
            "containerd's answer is no gRPC message that was asked for".into(),
        ));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let message = rest[..length].to_vec();
    buffer.drain(..5 + length);
    Ok(Some(message))
}

fn status(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let why = text("grpc-message").unwrap_or_else(|| "no reason given".into());
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some("5") => Err(Failure::NotFound(why)),
        _ => Err(Failure::Other(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_off_the_front_when_they_are_whole() {
        let mut buffer = b"\0\0\0\0\x03abc\0\0\0\0\x00\0\0\0\0\x02d".to_vec();
        let mut next = || unframed(&mut buffer).expect("frames");
        assert_eq!(next().as_deref(), Some(&b"abc"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next(), None);
        buffer.push(b'e');
        assert_eq!(unframed(&mut buffer).expect("frames").as_deref(), Some(&b"de"[..]));
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        assert!(unframed(&mut b"\x01\0\0\0\x01x".to_vec()).is_err(), "compressed");
        assert!(unframed(&mut b"\0\xff\xff\xff\xffx".to_vec()).is_err(), "four gigabytes");
    }

    #[test]
    fn the_status_is_in_trailers_or_headers() {
        let told = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|&(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            status(&headers.collect())
        };
        assert!(told(&[("grpc-status", "0")]).is_ok());
        let missing = told(&[("grpc-status", "5"), ("grpc-message", "content x: not found")]);
        assert!(matches!(missing, Err(Failure::NotFound(why)) if why == "content x: not found"));
        assert!(matches!(told(&[("grpc-status", "14")]), Err(Failure::Other(_))));
        assert!(matches!(told(&[]), Err(Failure::Other(_))));
    }
}
