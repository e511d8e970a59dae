//! `httpd`: files of a folder over HTTP, for tests. One request after another, as a guest has one
//! thread; a service of one's own is a `wasi:http` component, which the engine serves.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::copy::pour;
use super::http::{Head, read_head};
use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

/// Nobody keeps the others waiting longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn httpd(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "fvp:h:u:c:", &[])?;
    let wrong = |text: &str| Failure::new(format!("bad address '{text}'"));
    let place = options.value('p').unwrap_or("80");
    let any = IpAddr::from([0, 0, 0, 0]);
    let address = match place.rsplit_once(':') {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() { Ok(any) } else { host.parse() };
            SocketAddr::new(
                host.map_err(|_| wrong(place))?,
                port.parse().map_err(|_| wrong(place))?,
            )
        }
        None => SocketAddr::new(any, place.parse().map_err(|_| wrong(place))?),
    };
    if let Some(folder) = options.value('h') {
        std::env::set_current_dir(folder).map_err(|error| Failure::of(folder, &error))?;
    }
    let listener = TcpListener::bind(address)
        .map_err(|error| Failure::of(&format!("bind {address}"), &error))?;
    loop {
        let (stream, peer) = listener.accept()?;
        // A client that goes away harms nobody else.
        if let Err(error) = serve(&stream)
            && options.has('v')
        {
            call.complain_of(&peer.to_string(), &error);
        }
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(Head { line, .. }) = read_head(&mut BufReader::new(stream))? else { return Ok(()) };
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
    let path = decoded(target.split('?').next().unwrap_or("/"));
    if !matches!(method, "GET" | "HEAD") {
        return short(stream, "501 Not Implemented", "");
    }
    let path = format!(".{}", super::join("/", &path));
    let is_folder = fs::metadata(&path).is_ok_and(|file| file.is_dir());
    if is_folder && !target.ends_with('/') {
        return short(stream, "302 Found", &format!("Location: {target}/\r\n"));
    }
    let path = if is_folder { format!("{path}/index.html") } else { path };
    let Ok(mut file) = File::open(&path) else { return short(stream, "404 Not Found", "") };
    let kind = match path.rsplit('.').next() {
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    };
    let length = file.metadata()?.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if method == "GET" {
        pour(&mut file, &mut stream)?;
    }
    Ok(())
}

fn short(mut stream: &TcpStream, status: &str, headers: &str) -> io::Result<()> {
    let body = format!("{status}\n");
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// `%20` and the like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
