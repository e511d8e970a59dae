//! HTTP/1.1 as much as `wget` and `httpd` need, over `std::net`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::nc;
use crate::call::Failure;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
    pub(super) user: Option<String>,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, Failure> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(Failure::new(format!("{text}: https is not built in")));
            }
            Some((scheme, _)) => return Err(Failure::new(format!("not an http url: {scheme}://"))),
            None => text,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_string()), place),
            None => (None, place),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| Failure::new(format!("bad port in {text}")))?)
            }
            _ => (place, 80),
        };
        if host.is_empty() {
            return Err(Failure::new(format!("bad address '{text}'")));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        Ok(Url { host, port, path, user })
    }

    /// As a `Host` header has it.
    pub(super) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }

    /// Where a `Location` leads.
    pub(super) fn join(&self, location: &str) -> Result<Url, Failure> {
        if location.contains("://") {
            return Url::parse(location);
        }
        let path = match location.starts_with('/') {
            true => location.to_string(),
            false => format!(
                "{}/{location}",
                self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
            ),
        };
        Ok(Url { host: self.host.clone(), port: self.port, path, user: self.user.clone() })
    }
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The first line.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Box<dyn Read>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

pub(super) fn ask(
    url: &Url,
    method: &str,
    headers: &[(String, String)],
    body: &[u8],
    wait: Option<Duration>,
) -> Result<Answer, Failure> {
    let stream = nc::connect(&url.host, url.port, wait)?;
    stream.set_read_timeout(wait)?;
    stream.set_write_timeout(wait)?;
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        url.path,
        url.authority()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body)?;
    answer(stream, method)
}

fn answer(stream: TcpStream, method: &str) -> Result<Answer, Failure> {
    let mut reader = BufReader::with_capacity(crate::streams::CHUNK, stream);
    loop {
        let Some(Head { line, headers }) = read_head(&mut reader).map_err(in_time)? else {
            return Err(Failure::new("error getting response"));
        };
        let status = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        let Some(status) = status.filter(|_| line.starts_with("HTTP/")) else {
            return Err(Failure::new(format!("bad response: {line}")));
        };
        if status / 100 == 1 {
            continue;
        }
        let value = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        };
        let chunked = value("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let length = value("content-length").and_then(|value| value.parse::<u64>().ok());
        let body: Box<dyn Read> = match length {
            _ if method == "HEAD" || status == 204 || status == 304 => Box::new(io::empty()),
            _ if chunked => Box::new(Chunks { reader, left: 0, over: false }),
            Some(length) => Box::new(Exactly { reader, left: length }),
            None => Box::new(reader),
        };
        return Ok(Answer { status, line, headers, body });
    }
}

/// A timeout in the words of wget.
pub(super) fn in_time(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::new("download timed out"),
        _ => Failure::from(error),
    }
}

pub(super) struct Head {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
}

/// More than this is nobody's header.
const LONGEST: u64 = 64 * 1024;

/// `None`: there was nothing at all.
pub(super) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head { line: String::new(), headers: Vec::new() };
    let mut limited = reader.take(LONGEST);
    let mut first = true;
    loop {
        let mut line = Vec::new();
        let length = limited.read_until(b'\n', &mut line)?;
        if length == 0 {
            return if first { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_string();
        if first {
            head.line = text;
            first = false;
        } else if text.is_empty() {
            return Ok(Some(head));
        } else if let Some((name, value)) = text.split_once(':') {
            head.headers.push((name.trim().to_string(), value.trim().to_string()));
        }
    }
}

struct Exactly<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let length = self.reader.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(io::Error::other("connection closed prematurely"));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

struct Chunks<R> {
    reader: R,
    left: u64,
    over: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = || io::Error::other("bad chunk in the answer");
        if self.left == 0 && !self.over {
            let mut line = String::new();
            while line.trim().is_empty() {
                line.clear();
                if self.reader.read_line(&mut line)? == 0 {
                    return Err(wrong());
                }
            }
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).map_err(|_| wrong())?;
            self.over = self.left == 0;
        }
        if self.over {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = self.reader.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(wrong());
        }
        self.left -= length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, path: &str) {
        let url = Url::parse(text).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path), "{text}");
    }

    #[test]
    fn addresses_are_taken_apart() {
        check("http://a/b?c#d", "a", 80, "/b?c");
        check("a:8080", "a", 8080, "/");
        check("http://[::1]:81/x", "::1", 81, "/x");
        check("http://[::1]", "::1", 80, "/");
        check("http://u:p@h/", "h", 80, "/");
        check("http://h?q", "h", 80, "/?q");
        assert!(
            Url::parse("https://a").is_err()
                && Url::parse("http://a:b/").is_err()
                && Url::parse("http:///x").is_err()
        );
    }

    #[test]
    fn a_body_in_chunks_is_put_together() {
        let text = b"4\r\nWiki\r\n6;x=y\r\npedia \r\n0\r\n\r\n";
        let mut body = String::new();
        Chunks { reader: &text[..], left: 0, over: false }
            .read_to_string(&mut body)
            .expect("whole");
        assert_eq!(body, "Wikipedia ");
        let broken =
            Chunks { reader: &b"4\r\nWi"[..], left: 0, over: false }.read_to_string(&mut body);
        assert!(broken.is_err());
    }
}
