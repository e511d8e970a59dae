//! `nc`, `nslookup`: TCP and names.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::clock;
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::{Options, number};

/// Every address of a name, each once.
pub(super) fn addresses(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let wrong = |_| Failure::new(format!("bad address '{name}'"));
    let mut found: Vec<IpAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs().map_err(wrong)? {
        if !found.contains(&address.ip()) {
            found.push(address.ip());
        }
    }
    Ok(found)
}

/// The shorter of an own limit and what `timeout` has left.
fn limit(own: Option<Duration>) -> Option<Duration> {
    [own, clock::left()].into_iter().flatten().min()
}

/// The first address that answers.
pub(super) fn connect(host: &str, port: u16, wait: Option<Duration>) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in addresses(host)? {
        let address = SocketAddr::new(address, port);
        let connected = match limit(wait) {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            Some(wait) => connect_in_time(address, wait),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    clock::check()?;
    match last {
        Some((address, error)) => Err(Failure::new(format!(
            "can't connect to remote host ({address}): {}",
            sentence(&error)
        ))),
        None => Err(Failure::new(format!("bad address '{host}'"))),
    }
}

/// std for WASI 0.2 (Rust 1.95) takes a refused connection for one that was made in time. It has no
/// peer, and a second attempt without a limit tells at once why.
fn connect_in_time(address: SocketAddr, wait: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, wait)?;
    match stream.peer_addr() {
        Ok(_) => Ok(stream),
        Err(_) => TcpStream::connect(address),
    }
}

pub(super) fn nc(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "zw:lp:vnkus:q:e:i:", &[])?;
    if options.has('u') || options.has('e') {
        return Err(Failure::new("only TCP is built in, and nothing can be started (-e)"));
    }
    let seconds: Option<u64> = options.number('w')?;
    let wait = seconds.map(Duration::from_secs);
    let operands: Vec<&str> = options.operands.iter().map(String::as_str).collect();
    if options.has('l') {
        let port = match (options.value('p'), &operands[..]) {
            (Some(port), _) => number(port)?,
            (None, [port] | [_, port]) => number(port)?,
            _ => return Err(call.usage("-l -p PORT")),
        };
        return listen(call, &options, port, wait);
    }
    let [host, port] = operands[..] else {
        return Err(call.usage("[-zv] [-w SECONDS] HOST PORT, or -l -p PORT"));
    };
    // `-z` also takes a range, and is content with any port of it.
    let (low, high) = port.split_once('-').unwrap_or((port, port));
    let (low, high) = (number::<u16>(low)?, number::<u16>(high)?);
    let mut result = Err(Failure::new("no port"));
    for port in low..=high {
        result = connect(host, port, wait);
        if options.has('v') {
            match &result {
                Ok(_) => call
                    .streams
                    .stderr
                    .borrow_mut()
                    .write_all(format!("{host} ({host}:{port}) open\n").as_bytes())?,
                Err(Failure::Said(sentence, _)) => drop(call.complain(sentence)),
                Err(_) => {}
            }
        }
        if result.is_ok() {
            break;
        }
    }
    let stream = match result {
        // `-z` says nothing unless asked to.
        Err(Failure::Said(..)) if options.has('z') => return Ok(1),
        result => result?,
    };
    if options.has('z') { Ok(0) } else { talk(call, &stream, wait) }
}

fn listen(call: &Call<'_>, options: &Options, port: u16, wait: Option<Duration>) -> Outcome {
    let address = SocketAddr::new(
        options
            .value('s')
            .map_or(Ok(IpAddr::from([0, 0, 0, 0])), str::parse)
            .map_err(|_| Failure::new("bad address"))?,
        port,
    );
    let bound = TcpListener::bind(address);
    let listener =
        bound.map_err(|error| Failure::of(&format!("can't bind to port {port}"), &error))?;
    loop {
        let (stream, _) = listener.accept()?;
        talk(call, &stream, wait)?;
        if !options.has('k') {
            return Ok(0);
        }
    }
}

/// First what stdin has, then what the other side says. A guest has one thread, so this is no
/// conversation: it is a question and an answer, which is what scripts use it for.
fn talk(call: &Call<'_>, mut stream: &TcpStream, wait: Option<Duration>) -> Outcome {
    {
        let mut stdin = call.streams.stdin.borrow_mut();
        loop {
            let length = {
                let bytes = stdin.fill_buf()?;
                stream.write_all(bytes)?;
                bytes.len()
            };
            if length == 0 {
                break;
            }
            stdin.consume(length);
        }
    }
    // The other side may have closed already.
    let _ = stream.shutdown(Shutdown::Write);
    let begun = Instant::now();
    let mut buffer = vec![0; crate::streams::CHUNK];
    loop {
        let left = limit(wait.map(|wait| wait.saturating_sub(begun.elapsed())));
        if left == Some(Duration::ZERO) {
            clock::check()?;
            return Ok(1);
        }
        stream.set_read_timeout(left)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(length) => {
                call.out().write_all(&buffer[..length])?;
                call.out().flush()?;
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(Failure::Said(sentence(&error), 1)),
        }
    }
}

pub(super) fn nslookup(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "t:q:", &[])?;
    let Some(name) = options.operands.first() else { return Err(call.usage("NAME")) };
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server =
        resolver.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap_or("none").trim();
    writeln!(call.out(), "Server:\t\t{server}\nAddress:\t{server}:53\n")?;
    let found = addresses(name)
        .map_err(|_| Failure::new(format!("can't resolve '{name}': Name does not resolve")))?;
    for address in found {
        writeln!(call.out(), "Name:\t{name}\nAddress: {address}")?;
    }
    Ok(0)
}
