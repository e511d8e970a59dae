//! A small HTTP client and server, for guests that serve and guests that fetch.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::block_on;
use crate::command::{patient, until};

/// How long one answer may take, on a machine that does other things too.
const ANSWER: Duration = Duration::from_secs(60);

/// Status and body.
pub type Answer = (u16, String);

/// An address of this machine's loopback that nobody listens on, and that nobody else is given: below the ports
/// that the kernel hands out by itself (`ip_local_port_range` begins at 32768), or a listener or a connection of
/// another case could have it by the time that a service comes to bind it.
pub fn free_address() -> Result<SocketAddr> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    // Two suites beside each other begin at different ones.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id() * 101));
    for _ in PORTS {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port)?));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("all ports of {PORTS:?} are taken")
}

/// Waits until somebody listens.
pub fn listening(at: SocketAddr) -> Result<()> {
    if !until(ANSWER, || std::net::TcpStream::connect(at).is_ok()) {
        bail!("nobody listens on {at}");
    }
    Ok(())
}

/// Asks for `path` on a connection of its own.
pub fn get(at: SocketAddr, path: &str) -> Result<Answer> {
    block_on(send(at, path, Bytes::new()))
}

pub fn post(at: SocketAddr, path: &str, body: &str) -> Result<Answer> {
    block_on(send(at, path, Bytes::from(body.to_string())))
}

/// Asks all at once, at most `connections` of them open together, and gives the answers in the order of paths.
/// A request that failed has the status 0 and the reason for a body, so that one hides nothing of the others.
pub fn get_all(at: SocketAddr, paths: &[&str], connections: usize) -> Result<Vec<Answer>> {
    let gate = Arc::new(Semaphore::new(connections));
    let ask = |path: &&str| {
        let (gate, path) = (gate.clone(), path.to_string());
        async move {
            let _open = gate.acquire().await.context("the gate is never closed")?;
            send(at, &path, Bytes::new()).await
        }
    };
    block_on(async {
        let asked: Vec<_> = paths.iter().map(ask).map(tokio::spawn).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await?.unwrap_or_else(|error| (0, format!("{error:#}"))));
        }
        Ok(answers)
    })
}

async fn send(at: SocketAddr, path: &str, body: Bytes) -> Result<Answer> {
    let asked = async {
        let stream = TcpStream::connect(at).await.context("connect")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(path).header("host", at.to_string());
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status().as_u16();
        Ok((status, text(response.into_body()).await?))
    };
    match tokio::time::timeout(patient(ANSWER), asked).await {
        Ok(answer) => answer.map_err(|error: anyhow::Error| error.context(path.to_string())),
        Err(_) => bail!("{path} was not answered within {ANSWER:?}"),
    }
}

async fn text(body: Incoming) -> Result<String> {
    Ok(String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned())
}

/// Sends `chunks` one after another, each only when the one before it has come back: what a service can only
/// answer if it streams both ways.
pub fn ping_pong(at: SocketAddr, path: &str, chunks: &[&str]) -> Result<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at)?;
    stream.set_read_timeout(Some(patient(ANSWER)))?;
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {at}\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    for chunk in chunks {
        write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        while !seen.contains(chunk) {
            let size =
                stream.read(&mut buffer).with_context(|| format!("{chunk} did not come back"))?;
            if size == 0 {
                bail!("closed before {chunk:?} came back: {seen:?}");
            }
            seen.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
    }
    write!(stream, "0\r\n\r\n")?;
    while !seen.ends_with("0\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => bail!("closed without an end: {seen:?}"),
            size => seen.push_str(&String::from_utf8_lossy(&buffer[..size])),
        }
    }
    Ok(())
}

/// Answers one request for anything with `body`, in a thread, and gives the address and the thread, which
/// returns the first line of the request.
pub fn serve_once(body: &str) -> Result<(SocketAddr, std::thread::JoinHandle<Result<String>>)> {
    use std::io::{BufRead, BufReader, Write};
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    let body = body.to_string();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().context("no request")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let mut stream = stream;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        Ok(first)
    });
    Ok((at, thread))
}
