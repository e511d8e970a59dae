//! Sends its second argument as a line to the TCP address its first names and prints the line that comes back.
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_default();
    let mut connection = TcpStream::connect(address)?;
    writeln!(connection, "{}", words.next().unwrap_or_default())?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    print!("{answer}");
    Ok(())
}
