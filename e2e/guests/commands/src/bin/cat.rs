//! Copies stdin to stdout until its end.
use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        match io::stdin().read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                io::stdout().write_all(&buffer[..n])?;
                // Without this a line that has no end yet stays here.
                io::stdout().flush()?;
            }
        }
    }
}
