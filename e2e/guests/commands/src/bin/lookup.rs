//! Prints the addresses of the names in its arguments.
use std::net::ToSocketAddrs;

fn main() {
    for name in std::env::args().skip(1) {
        match (name.as_str(), 80).to_socket_addrs() {
            Ok(found) => {
                let all: Vec<_> = found.map(|address| address.ip().to_string()).collect();
                println!("{name}: {}", all.join(" "));
            }
            Err(_) => println!("{name}: not found"),
        }
    }
}
