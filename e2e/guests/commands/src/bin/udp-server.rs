//! Answers one UDP datagram at the address its argument names by sending it back in capitals.
use std::io;
use std::net::UdpSocket;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:7000".into());
    let socket = UdpSocket::bind(address)?;
    println!("listening");
    let mut datagram = [0; 1500];
    let (size, from) = socket.recv_from(&mut datagram)?;
    socket.send_to(&datagram[..size].to_ascii_uppercase(), from)?;
    println!("answered {size} bytes");
    Ok(())
}
