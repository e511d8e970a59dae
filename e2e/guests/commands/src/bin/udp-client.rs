//! Sends its second argument as a datagram to the UDP address its first names and prints the answer.
use std::io;
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_default();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.send(words.next().unwrap_or_default().as_bytes())?;
    let mut datagram = [0; 1500];
    let size = socket.recv(&mut datagram)?;
    println!("{}", String::from_utf8_lossy(&datagram[..size]));
    Ok(())
}
