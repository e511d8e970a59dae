//! What can be observed of HTTP services.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use expect_test::expect;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Guest, show, show_status};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// The component of `service.wat`, of the world in `service.wit`.
fn component() -> Vec<u8> {
    let mut wit = wit_parser::Resolve::default();
    let package = wit.push_str("service.wit", include_str!("support/service.wit")).unwrap();
    let world = wit.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(include_str!("support/service.wat")).unwrap();
    embed_component_metadata(&mut module, &wit, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start() -> Service {
        Service::start_with(&[])
    }

    /// Behind a program that changes what it starts.
    fn start_with(wrapper: &[&str]) -> Service {
        Service::of(Guest::new(component()), wrapper)
    }

    fn of(mut guest: Guest, wrapper: &[&str]) -> Service {
        // Free a moment ago; nobody else on this machine asks for it by number.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        guest.run.http_listen = address;
        let service = Service { process: guest.start_with(wrapper), address };
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        service
    }

    /// Sends a request without waiting for the answer.
    fn send(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        stream
    }

    /// The status line.
    fn get(&self, path: &str) -> String {
        let mut line = String::new();
        BufReader::new(self.send(path)).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }

    fn end(self) -> String {
        show(&self.process.wait_with_output().unwrap())
    }
}

#[test]
fn traps_and_missing_responses_answer_500_and_harm_nobody() {
    let service = Service::start();
    let answers: Vec<_> =
        ["/", "/trap", "/", "/none", "/"].iter().map(|path| service.get(path)).collect();
    expect![[r#"
        [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 500 Internal Server Error",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 500 Internal Server Error",
            "HTTP/1.1 200 OK",
        ]
    "#]]
    .assert_debug_eq(&answers);
    service.signal(Signal::SIGTERM);
    expect![[r#"
        wherry: GET /trap: the guest trapped: wasm trap: wasm `unreachable` instruction executed
        error while executing at wasm backtrace:
            0:    0x794 - <unknown>!handle
        wherry: GET /none: the guest failed: guest never invoked `response-outparam::set` method
        exit 0
    "#]]
    .assert_eq(&service.end());
}

#[test]
fn a_request_that_dies_of_the_memory_limit_is_told_with_the_limit() {
    let mut guest = Guest::new(component());
    guest.run.memory_limit = Some(64 << 20);
    let service = Service::of(guest, &[]);
    assert_eq!(service.get("/grow"), "HTTP/1.1 500 Internal Server Error");
    assert_eq!(service.get("/"), "HTTP/1.1 200 OK");
    service.signal(Signal::SIGTERM);
    let told = service.end();
    let lines: Vec<_> = told.lines().take(2).collect();
    expect![[r#"
        [
            "wherry: GET /grow: the guest trapped: wasm trap: wasm `unreachable` instruction executed",
            "before that it was refused 1 MiB more memory: 58 MiB of 59 MiB for guests were taken; the container's memory limit is 64 MiB (resources.limits.memory, docker --memory)",
        ]
    "#]]
    .assert_debug_eq(&lines);
}

/// A pod's in-place resize: more requests at once than there were places for when it started.
#[test]
fn a_service_takes_more_at_once_when_its_memory_limit_grows() {
    let mut guest = Guest::new(component());
    let limit = tempfile::NamedTempFile::new().unwrap();
    // One connection and one request, which does not end.
    std::fs::write(&limit, "4718592\n").unwrap();
    guest.memory = Some(limit.path().to_owned());
    let service = Service::of(guest, &[]);
    let _stuck = service.send("/spin");
    let mut waiting = service.send("/");
    std::fs::write(&limit, "67108864\n").unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 15];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    service.signal(Signal::SIGHUP);
    assert_eq!(service.end(), "exit 129\n");
}

#[test]
fn guests_that_compute_for_ever_do_not_stop_others() {
    let service = Service::start();
    let _stuck: Vec<_> = (0..4).map(|_| service.send("/spin")).collect();
    assert_eq!(service.get("/"), "HTTP/1.1 200 OK");
    service.signal(Signal::SIGTERM);
    // Told to stop, it waits for them; told again, it ends.
    while TcpStream::connect(service.address).is_ok() {
        std::thread::yield_now();
    }
    service.signal(Signal::SIGINT);
    assert_eq!(service.end(), "exit 130\n");
}

#[test]
fn idle_connections_are_closed_when_the_service_stops() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let service = Service::start();
        let mut kept = service.send("/");
        let mut answer = [0; 15];
        kept.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        service.signal(signal);
        // To its end: the server closed it.
        kept.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(service.end(), "exit 0\n");
    }
}

#[test]
fn requests_that_have_not_come_whole_do_not_hold_up_the_stop() {
    let service = Service::start();
    let begin = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut begun =
        [&b""[..], b"P", b"GET / HT", b"GET / HTTP/1.1\r\nhost: te", preface].map(begin);
    let mut kept = service.send("/");
    let mut answer = [0; 15];
    kept.read_exact(&mut answer).unwrap();
    kept.write_all(b"GET / HT").unwrap();
    // Accepted in order, so all are there when this is answered.
    assert_eq!(service.get("/"), "HTTP/1.1 200 OK");
    let asked = Instant::now();
    service.signal(Signal::SIGTERM);
    for stream in &mut begun {
        // Closed or reset, as what it had sent was read or not.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(service.end(), "exit 0\n");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn requests_that_run_on_do_not_hold_up_the_stop_until_kubernetes_kills() {
    let service = Service::start();
    let _stuck = service.send("/spin");
    assert_eq!(service.get("/"), "HTTP/1.1 200 OK");
    let asked = Instant::now();
    service.signal(Signal::SIGTERM);
    expect![[r#"
        wherry: requests still run 25 s after the signal to stop
        exit 0
    "#]]
    .assert_eq(&service.end());
    assert!(asked.elapsed() < Duration::from_secs(29), "{:?}", asked.elapsed());
}

#[test]
fn other_signals_end_a_service_at_once() {
    let service = Service::start();
    service.signal(Signal::SIGHUP);
    let Service { mut process, .. } = service;
    assert_eq!(show_status(process.wait().unwrap()), "exit 129");
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut guest = Guest::new(component());
    guest.run.http_listen = taken.local_addr().unwrap();
    let output = guest.show().replace(&guest.run.http_listen.to_string(), "ADDRESS");
    expect![[r#"
        wherry: cannot listen on ADDRESS: Address already in use (os error 98)
        exit 1
    "#]]
    .assert_eq(&output);
}

#[test]
fn requests_without_one_valid_host_are_refused() {
    let service = Service::start();
    let answer = |request: &str| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    assert_eq!(answer("GET / HTTP/1.0\r\n\r\n"), "HTTP/1.0 200 OK");
    let refused = "HTTP/1.1 400 Bad Request";
    assert_eq!(answer("GET / HTTP/1.1\r\nhost: a b\r\n\r\n"), refused);
    assert_eq!(answer("GET / HTTP/1.1\r\n\r\n"), refused);
    assert_eq!(answer("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"), refused);
    service.signal(Signal::SIGTERM);
    assert_eq!(service.end(), "exit 0\n");
}

#[test]
fn more_connections_than_descriptors_are_all_answered() {
    let service = Service::start_with(&["prlimit", "--nofile=128:128"]);
    let connections: Vec<_> = (0..300).map(|_| service.send("/")).collect();
    for mut connection in connections {
        let mut answer = [0; 15];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    service.signal(Signal::SIGTERM);
    assert_eq!(service.end(), "exit 0\n");
}
