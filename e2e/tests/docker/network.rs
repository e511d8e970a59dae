//! Networks: published ports, and names that Docker's own DNS server tells.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::http;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, SOON, is, run, soon, tool};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("published_http_is_answered", For::Wherry, http_published),
    ("published_tcp_and_udp_are_answered", For::Any, published),
    ("names_are_looked_up_at_dockers_dns", For::Any, dns),
    ("a_guest_fetches_from_another_by_its_name", For::Wherry, by_name),
    ("networks_are_joined_and_left_while_a_program_runs", For::Any, joined),
    ("links_are_names", For::Any, linked),
    ("network_none_has_loopback_only", For::Any, |d| {
        let done = tool(d, &["--network", "none"], &["ls", "/sys/class/net"])?;
        is(done, 0, "lo\n", "")
    }),
    ("a_container_has_the_hardware_address_it_is_given", For::Any, |d| {
        let address = "02:42:ac:11:aa:99";
        let done = tool(d, &["--mac-address", address], &["cat", "/sys/class/net/eth0/address"])?;
        is(done, 0, &format!("{address}\n"), "")
    }),
];

/// Where on the machine a port of a container is published.
fn at(container: &Kept, port: &str) -> Result<SocketAddr> {
    let told = container.docker.ask(&["port", &container.id, port])?;
    told.lines().next().context("no port")?.parse().context(told)
}

fn http_published(docker: &Docker) -> Result<()> {
    let serves = Kept::guest(docker, "http-p2", &["-p", "127.0.0.1:0:8080"], &[])?;
    let at = at(&serves, "8080/tcp")?;
    docker.in_network(|| {
        http::listening(at)?;
        let seen = (http::get(at, "/")?, http::post(at, "/echo", "there and back")?);
        let expected = ((200, "Hello, WASI!\n".to_string()), (200, "there and back".to_string()));
        ensure!(seen == expected, "{seen:?}");
        Ok(())
    })?;
    serves.done(&["stop"])?;
    ensure!(serves.ended()? == 0, "{}", serves.state()?);
    Ok(())
}

fn published(docker: &Docker) -> Result<()> {
    let publish = ["-p", "127.0.0.1:0:7000"];
    let tcp = Kept::guest(docker, "tcp-server", &publish, &["0.0.0.0:7000"])?;
    let publish = ["-p", "127.0.0.1:0:7000/udp"];
    let udp = Kept::guest(docker, "udp-server", &publish, &["0.0.0.0:7000"])?;
    for container in [&tcp, &udp] {
        soon(|| container.done(&["logs"]), |logs| logs == "listening")?;
    }
    let (tcp_at, udp_at) = (at(&tcp, "7000/tcp")?, at(&udp, "7000/udp")?);
    docker.in_network(|| {
        let mut connection = TcpStream::connect(tcp_at)?;
        connection.set_read_timeout(Some(SOON))?;
        connection.write_all(b"hello\n")?;
        let mut line = String::new();
        BufReader::new(connection.try_clone()?).read_line(&mut line)?;
        ensure!(line == "HELLO\n", "{line:?}");
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(SOON))?;
        socket.send_to(b"ping", udp_at)?;
        let mut datagram = [0; 100];
        let (size, from) = socket.recv_from(&mut datagram)?;
        ensure!(&datagram[..size] == b"PING" && from == udp_at, "{from}");
        Ok(())
    })?;
    ensure!(tcp.ended()? == 0 && udp.ended()? == 0);
    Ok(())
}

/// The address of a container in a network.
fn address(container: &Kept, network: &str) -> Result<String> {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    container.told(&format)
}

/// The container's `/etc/resolv.conf` names 127.0.0.11, where Docker answers in the container's own network,
/// and asks others for what it does not know.
fn dns(docker: &Docker) -> Result<()> {
    let network = Kept::network(docker, "dns")?;
    let options = ["--network", "dns", "--name", "pier", "--network-alias", "jetty"];
    let pier = Kept::idle(docker, &options)?;
    let ip = address(&pier, "dns")?;
    let names = ["pier", "jetty", "pier.dns", "nowhere"];
    let done = run(docker, "lookup", &["--rm", "--network", &network.id], &names, "")?;
    let expected = format!("pier: {ip}\njetty: {ip}\npier.dns: {ip}\nnowhere: not found\n");
    is(done, 0, &expected, "")?;
    let text = "grep nameserver /etc/resolv.conf";
    let done = tool(docker, &["--network", "dns"], &["sh", "-c", text])?;
    is(done, 0, "nameserver 127.0.0.11\n", "")?;
    // Who has no network with the other does not know its name.
    is(run(docker, "lookup", &["--rm"], &["pier"], "")?, 0, "pier: not found\n", "")?;
    // A name has all addresses that have it.
    let more = Kept::idle(docker, &["--network", "dns", "--network-alias", "jetty"])?;
    let done = run(docker, "lookup", &["--rm", "--network", "dns"], &["jetty"], "")?.ok()?;
    let other = address(&more, "dns")?;
    ensure!(done.stdout.contains(&ip) && done.stdout.contains(&other), "{done}");
    Ok(())
}

fn by_name(docker: &Docker) -> Result<()> {
    let _network = Kept::network(docker, "by-name")?;
    let options = ["--network", "by-name", "--name", "quay"];
    let _quay = Kept::guest(docker, "http-p2", &options, &[])?;
    let client = ["--rm", "--network", "by-name"];
    let fetch = || run(docker, "fetch", &client, &["http://quay:8080/"], "");
    let done = soon(fetch, |done| done.code == 0)?;
    is(done, 0, "200 Hello, WASI!\n", "")
}

fn joined(docker: &Docker) -> Result<()> {
    let network = Kept::network(docker, "joined")?;
    let idle = Kept::idle(docker, &[])?;
    let links = || idle.script("ls /sys/class/net");
    ensure!(links()? == "eth0\nlo\n", "{}", links()?);
    docker.ask(&["network", "connect", "--alias", "guest", &network.id, &idle.id])?;
    ensure!(links()? == "eth0\neth1\nlo\n", "{}", links()?);
    let ip = address(&idle, "joined")?;
    let done = run(docker, "lookup", &["--rm", "--network", "joined"], &["guest"], "")?;
    is(done, 0, &format!("guest: {ip}\n"), "")?;
    docker.ask(&["network", "disconnect", &network.id, &idle.id])?;
    ensure!(links()? == "eth0\nlo\n", "{}", links()?);
    Ok(())
}

fn linked(docker: &Docker) -> Result<()> {
    let first = Kept::idle(docker, &["--name", "ferry-one"])?;
    let ip = address(&first, "bridge")?;
    let done =
        run(docker, "lookup", &["--rm", "--link", "ferry-one:other"], &["other"], "")?.ok()?;
    // Docker may say on stderr what it thinks of links.
    ensure!(done.stdout == format!("other: {ip}\n"), "{done}");
    Ok(())
}
