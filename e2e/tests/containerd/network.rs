//! Sockets, names and HTTP: guests that call and guests that are called.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};
use wherry_e2e::tasks::{Call, Daemon, Tasks};
use wherry_e2e::{command, http, image::Form};

use crate::examples::is;

const TERM: u32 = 15;

pub(crate) const CASES: &[Case] = &[
    ("tcp_server_answers", For::Any, tcp_server),
    ("tcp_client_is_answered", For::Any, tcp_client),
    ("udp_server_answers", For::Any, udp_server),
    ("udp_client_is_answered", For::Any, udp_client),
    ("names_come_from_the_containers_own_hosts_file", For::Any, hosts),
    ("a_network_namespace_of_its_own_reaches_nothing_of_the_machine", For::Any, unreachable),
    ("http_is_fetched", For::Wherry, fetch),
    ("http_fetch_of_a_closed_port_fails_with_a_reason", For::Wherry, fetch_nothing),
    ("https_is_fetched_by_the_containers_own_roots", For::Wherry, fetch_tls),
    ("http_p2_answers", For::Wherry, |w| answers(w, "http-p2")),
    ("http_p3_answers", For::Wherry, |w| answers(w, "http-p3")),
    ("http_p2_answers_from_an_artifact", For::Wherry, |w| {
        let image = w.image_as("http-p2", Form::Artifact)?;
        serves(w, Container::of(&image))
    }),
    ("http_p2_answers_a_thousand_at_once", For::Wherry, |w| thousand(w, "http-p2")),
    ("http_p3_answers_a_thousand_at_once", For::Wherry, |w| thousand(w, "http-p3")),
    ("http_p2_with_little_memory_answers_all", For::Wherry, |w| little_memory(w, "http-p2")),
    ("http_p3_with_little_memory_answers_all", For::Wherry, |w| little_memory(w, "http-p3")),
    ("http_takes_more_at_once_when_its_memory_limit_grows", For::Wherry, more_memory),
    ("http_p2_streams_both_ways", For::Wherry, |w| streams(w, "http-p2")),
    ("http_p3_streams_both_ways", For::Wherry, |w| streams(w, "http-p3")),
    ("http_p2_trap_harms_no_other_request", For::Wherry, |w| traps(w, "http-p2")),
    ("http_p3_trap_harms_no_other_request", For::Wherry, |w| traps(w, "http-p3")),
    ("http_p2_drains_on_sigterm", For::Wherry, |w| drains(w, "http-p2")),
    ("http_p3_drains_on_sigterm", For::Wherry, |w| drains(w, "http-p3")),
    ("http_has_as_many_threads_as_processors_by_its_limit", For::Wherry, threads),
    ("http_with_a_spinning_request_still_ends", For::Wherry, spinning),
];

fn tcp_server(world: &World) -> Result<()> {
    let at = http::free_address()?;
    let mut task = world.guest("tcp-server")?.args(&[&at.to_string()]).host_network();
    let mut task = started(world, &mut task)?;
    task.says("listening")?;
    let mut connection = TcpStream::connect(at)?;
    connection.write_all(b"hello\nthere\n")?;
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let heard: Vec<String> = lines.by_ref().take(2).collect::<std::io::Result<_>>()?;
    if heard != ["HELLO", "THERE"] {
        task.kill(9).ok();
        bail!("heard {heard:?}, ended with {:?}, said {:?}", task.wait(RUN), task.output());
    }
    connection.shutdown(std::net::Shutdown::Both)?;
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    let (stdout, stderr) = task.output();
    ensure!((stdout.as_str(), stderr.as_str()) == ("listening\nclosed\n", ""), "{stdout} {stderr}");
    Ok(())
}

/// Takes the container out of its place in the caller.
fn started(world: &World, container: &mut Container) -> Result<Task> {
    let container = std::mem::replace(container, Container::of(&world.image("hello")?));
    let task = container.create(&world.containerd)?;
    task.start()?;
    Ok(task)
}

fn tcp_client(world: &World) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?.to_string();
    let server = std::thread::spawn(move || -> Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        stream.write_all(b"and good bye\n")?;
        Ok(line)
    });
    let client = world.guest("tcp-client")?.args(&[&at, "good morning"]).host_network();
    is(client.run(&world.containerd)?, 0, "and good bye\n", "")?;
    let heard = server.join().expect("the server does not panic")?;
    ensure!(heard == "good morning\n", "{heard:?}");
    Ok(())
}

fn udp_server(world: &World) -> Result<()> {
    let at = http::free_address()?;
    let mut container = world.guest("udp-server")?.args(&[&at.to_string()]).host_network();
    let mut task = started(world, &mut container)?;
    task.says("listening")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(RUN))?;
    socket.send_to(b"ping", at)?;
    let mut datagram = [0; 100];
    let (size, from) = socket.recv_from(&mut datagram)?;
    ensure!(&datagram[..size] == b"PING" && from == at, "{from}");
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    ensure!(task.output().0 == "listening\nanswered 4 bytes\n");
    Ok(())
}

fn udp_client(world: &World) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(RUN))?;
    let at = socket.local_addr()?.to_string();
    let server = std::thread::spawn(move || -> Result<()> {
        let mut datagram = [0; 100];
        let (size, from) = socket.recv_from(&mut datagram)?;
        let mut answer = datagram[..size].to_vec();
        answer.reverse();
        socket.send_to(&answer, from)?;
        Ok(())
    });
    let client = world.guest("udp-client")?.args(&[&at, "stressed"]).host_network();
    is(client.run(&world.containerd)?, 0, "desserts\n", "")?;
    server.join().expect("the server does not panic")
}

fn hosts(world: &World) -> Result<()> {
    let file = world.folder("names")?.join("hosts");
    fs::write(&file, "127.0.0.1 localhost\n10.9.8.7 ferry.test\n")?;
    let lookup = world.guest("lookup")?.args(&["ferry.test", "127.0.0.1"]);
    let done = lookup.bind(&file, "/etc/hosts", &["ro"]).run(&world.containerd)?;
    is(done, 0, "ferry.test: 10.9.8.7\n127.0.0.1: 127.0.0.1\n", "")
}

fn unreachable(world: &World) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?.to_string();
    let done = world.guest("tcp-client")?.args(&[&at, "anyone?"]).run(&world.containerd)?;
    ensure!(done.code == 1 && done.stdout.is_empty(), "{done}");
    Ok(())
}

fn fetch(world: &World) -> Result<()> {
    let (at, server) = http::serve_once("from the server\n")?;
    let container = world.guest("fetch")?.args(&[&format!("http://{at}/some/path?q=1")]);
    is(container.host_network().run(&world.containerd)?, 0, "200 from the server\n", "")?;
    let asked = server.join().expect("the server does not panic")?;
    ensure!(asked == "GET /some/path?q=1 HTTP/1.1", "{asked}");
    Ok(())
}

fn fetch_nothing(world: &World) -> Result<()> {
    let at = http::free_address()?;
    let container = world.guest("fetch")?.args(&[&format!("http://{at}/")]).host_network();
    let done = container.run(&world.containerd)?;
    ensure!(done.code == 1 && done.stdout.starts_with("failed: "), "{done}");
    Ok(())
}

/// A server with a certificate of an authority that only the container knows, or does not know.
fn fetch_tls(world: &World) -> Result<()> {
    let folder = world.folder("tls")?;
    let openssl = |words: &str| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&folder).args(words.split(' '));
        command::run(&mut openssl, b"", RUN)?.ok()
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"))?;
    openssl(&format!("req {key} -keyout own.key -out own.csr -subj /CN=localhost"))?;
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n")?;
    openssl(
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out own.pem",
    )?;
    let at = http::free_address()?;
    let mut server = Command::new("openssl");
    server.current_dir(&folder).args(["s_server", "-quiet", "-www", "-cert", "own.pem"]);
    server.args(["-key", "own.key", "-accept", &at.to_string()]);
    let mut server =
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let fetch = |container: Container| container.host_network().run(&world.containerd);
    let asks = || Ok::<_, anyhow::Error>(world.guest("fetch")?.args(&[&format!("https://{at}/")]));
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let done = http::listening(at).and_then(|()| {
        let knows = fetch(asks()?.bind(&folder.join("ca.pem"), bundle, &["ro"]))?;
        Ok((knows, fetch(asks()?)?))
    });
    server.kill()?;
    server.wait()?;
    let (knows, knows_not) = done?;
    ensure!(knows.code == 0 && knows.stdout.starts_with("200 "), "{knows}");
    ensure!(knows_not.code == 1 && knows_not.stdout.contains("Tls"), "{knows_not}");
    Ok(())
}

/// As many requests at once as would need more memory than there is: they wait for each other.
fn little_memory(world: &World, guest: &str) -> Result<()> {
    let (task, at) = service(world, world.guest(guest)?.memory(64 << 20))?;
    let answers = http::get_all(at, &["/slow"; 300], 300)?;
    let bad = answers.iter().filter(|(status, _)| *status != 200).count();
    ensure!(bad == 0, "{bad} of 300 were not answered well");
    ends_well(task)
}

/// What a pod's in-place resize asks for. Each request waits a second, and 24 MiB have places for eight.
fn more_memory(world: &World) -> Result<()> {
    let (task, at) = service(world, world.guest("http-p2")?.memory(24 << 20))?;
    let all = || -> Result<Duration> {
        let began = Instant::now();
        let answers = http::get_all(at, &["/slow"; 32], 32)?;
        let bad = answers.iter().filter(|(status, _)| *status != 200).count();
        ensure!(bad == 0, "{bad} of 32 were not answered well");
        Ok(began.elapsed())
    };
    let few = all()?;
    let resources = serde_json::json!({ "memory": { "limit": 512 << 20, "swap": 512 << 20 } });
    let tasks = Tasks::Daemon(Daemon(task.client().clone()));
    tasks.ask(&task.id, "", &Call::Update(resources.to_string().into_bytes()))?;
    let many = all()?;
    ensure!(2 * many < few, "{few:?} with 24 MiB, {many:?} with 512");
    ends_well(task)
}

fn threads(world: &World) -> Result<()> {
    let here = std::thread::available_parallelism()?.get();
    for (quota, processors) in [(50_000, 1), (100_000, 1), (200_000, 2), (250_000, 3)] {
        // No more than the machine has, and one needs no threads beside the first.
        let wanted = if processors.min(here) == 1 { 0 } else { processors.min(here) };
        let container = world.guest("http-p2")?.edit(move |spec| {
            let cpu = serde_json::json!({ "quota": quota, "period": 100_000 });
            spec["linux"]["resources"]["cpu"] = cpu;
        });
        let (task, at) = service(world, container)?;
        ensure!(http::get_all(at, &["/"; 8], 8)?.iter().all(|(status, _)| *status == 200));
        // What blocks (a file, a name to look up) has a thread of that name, too, for some seconds.
        let mut serving = 0;
        let as_wanted = command::until(RUN, || {
            serving = threads_of(task.pid, "wherry-http");
            serving == wanted
        });
        ensure!(as_wanted, "{serving} threads for a quota of {quota}");
        ends_well(task)?;
    }
    Ok(())
}

fn threads_of(pid: u32, name: &str) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

/// A service on this machine's loopback, up and listening.
fn service(world: &World, container: Container) -> Result<(Task, SocketAddr)> {
    let at = http::free_address()?;
    let container = container.annotation("wherry.dev/http.listen", &at.to_string()).host_network();
    let task = container.create(&world.containerd)?;
    task.start()?;
    http::listening(at)?;
    Ok((task, at))
}

fn ends_well(mut task: Task) -> Result<()> {
    task.kill(TERM)?;
    let code = task.wait(RUN)?;
    task.delete()?;
    let (stdout, stderr) = task.output();
    ensure!(code == 0, "ended with {code}: {stdout}{stderr}");
    Ok(())
}

fn serves(world: &World, container: Container) -> Result<()> {
    let (task, at) = service(world, container)?;
    let seen = (http::get(at, "/")?, http::get(at, "/nowhere")?, http::post(at, "/echo", "back")?);
    let expected = [(200, "Hello, WASI!\n"), (404, "not here\n"), (200, "back")]
        .map(|(status, body)| (status, body.to_string()));
    ensure!(<[_; 3]>::from(seen.clone()) == expected, "{seen:?}");
    // Each request has an instance of its own: nothing is left from the one before.
    for _ in 0..3 {
        let count = http::get(at, "/count")?;
        ensure!(count == (200, "1\n".to_string()), "{count:?}");
    }
    ends_well(task)
}

fn answers(world: &World, guest: &str) -> Result<()> {
    serves(world, world.guest(guest)?)
}

fn thousand(world: &World, guest: &str) -> Result<()> {
    let (mut task, at) = service(world, world.guest(guest)?)?;
    let answers = http::get_all(at, &["/"; 1000], 1000)?;
    let well = (200, "Hello, WASI!\n".to_string());
    let bad: Vec<_> = answers.iter().filter(|answer| **answer != well).collect();
    if let Some(one) = bad.first() {
        let told = task.kill(TERM);
        let code = task.wait(RUN)?;
        let said: String = task.output().1.chars().take(600).collect();
        bail!(
            "{} of 1000 were not answered well, such as {one:?}; then {told:?}, exit {code}, stderr: {said}",
            bad.len()
        );
    }
    ends_well(task)
}

fn streams(world: &World, guest: &str) -> Result<()> {
    let (task, at) = service(world, world.guest(guest)?)?;
    http::ping_pong(at, "/echo", &["first", "second", "third"])?;
    let long = "0123456789".repeat(100_000);
    let (status, body) = http::post(at, "/echo", &long)?;
    ensure!(status == 200 && body == long, "{status}, {} bytes", body.len());
    ends_well(task)
}

fn traps(world: &World, guest: &str) -> Result<()> {
    let (mut task, at) = service(world, world.guest(guest)?)?;
    let paths: Vec<&str> = (0..60).map(|n| if n % 3 == 0 { "/trap" } else { "/slow" }).collect();
    let answers = http::get_all(at, &paths, 60)?;
    for (path, answer) in paths.iter().zip(&answers) {
        match *path {
            "/trap" => ensure!(answer.0 == 500, "{path}: {answer:?}"),
            _ => ensure!(*answer == (200, "slept\n".to_string()), "{path}: {answer:?}"),
        }
    }
    task.kill(TERM)?;
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    let stderr = task.output().1;
    ensure!(stderr.contains("unreachable"), "the reason of a trap belongs on stderr: {stderr:?}");
    Ok(())
}

/// Requests that run are finished, new ones are refused, and the program ends with 0.
fn drains(world: &World, guest: &str) -> Result<()> {
    let (mut task, at) = service(world, world.guest(guest)?)?;
    let slow = std::thread::spawn(move || http::get_all(at, &["/slow"; 50], 50));
    // The requests must have arrived before the signal does: a second of sleep in each is time enough.
    let asked = Instant::now();
    let connected = || established(at) >= 50;
    ensure!(command::until(RUN, connected), "only {} came through", established(at));
    ensure!(asked.elapsed() < Duration::from_millis(900), "this machine is too slow for this test");
    task.kill(TERM)?;
    let code = task.wait(RUN)?;
    let answers = slow.join().expect("the client does not panic")?;
    let good = answers.iter().filter(|answer| **answer == (200, "slept\n".to_string())).count();
    ensure!(good == 50, "only {good} of 50 running requests were finished");
    ensure!(code == 0, "ended with {code}");
    ensure!(TcpStream::connect(at).is_err(), "still listening");
    task.delete()?;
    Ok(())
}

/// Connections to a port of loopback that both sides have agreed on.
fn established(at: SocketAddr) -> usize {
    let port = format!("0100007F:{:04X}", at.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|f| f.get(1) == Some(&port.as_str()) && f.get(3) == Some(&"01")).count()
}

fn spinning(world: &World) -> Result<()> {
    let (mut task, at) = service(world, world.guest("http-p2")?)?;
    let mut stuck = TcpStream::connect(at)?;
    write!(stuck, "GET /spin HTTP/1.1\r\nhost: {at}\r\n\r\n")?;
    // Others are still answered while one spins.
    ensure!(http::get(at, "/")?.0 == 200);
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    task.delete()?;
    Ok(())
}
