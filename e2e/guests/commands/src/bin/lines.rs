//! Writes as many numbered lines as its argument says to stdout and every tenth to stderr, then exits at once.
use std::io::{self, Write};

fn main() -> io::Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10);
    let mut out = io::BufWriter::with_capacity(8192, io::stdout());
    for n in 1..=count {
        writeln!(out, "line {n:08} of a log that must arrive whole, whoever reads it and however late")?;
        if n % 10 == 0 {
            writeln!(io::stderr(), "error {n:08}")?;
        }
    }
    out.flush()
}
