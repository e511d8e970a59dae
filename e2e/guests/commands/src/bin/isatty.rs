//! Tells which of its streams are a terminal; then, with any argument, waits for a line and says it again.
use std::io::{self, IsTerminal};

fn main() -> io::Result<()> {
    let told =
        [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    println!("{told:?}");
    if std::env::args().len() > 1 {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        println!("said {:?}", line.trim_end());
    }
    Ok(())
}
