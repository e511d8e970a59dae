//! Answers one TCP connection at the address its argument names by sending back each line in capitals.
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:7000".into());
    let listener = TcpListener::bind(address)?;
    println!("listening");
    let (connection, _) = listener.accept()?;
    for line in BufReader::new(&connection).lines() {
        writeln!(&connection, "{}", line?.to_uppercase())?;
    }
    println!("closed");
    Ok(())
}
