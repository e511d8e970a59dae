//! Greets the first argument, or the world.
use std::env;
use std::io::{self, Write};

fn main() {
    let args: Vec<String> = env::args().collect();
    let name = if args.len() > 1 { &args[1] } else { "World" };
    let stdout = io::stdout();
    let mut handle = stdout.lock();
    writeln!(handle, "Hello, {name}!").expect("failed to write");
}
