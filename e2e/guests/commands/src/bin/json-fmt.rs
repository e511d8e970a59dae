//! Reads JSON from stdin and prints it indented.
use std::io::{self, BufWriter, Read, Write};
use std::process;

fn main() {
    let mut input = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut input) {
        eprintln!("Error reading stdin: {error}");
        process::exit(1);
    }
    let trimmed = input.trim();
    if trimmed.is_empty() {
        eprintln!("No input provided");
        process::exit(1);
    }
    match serde_json::from_str::<serde_json::Value>(trimmed) {
        Ok(value) => {
            let stdout = io::stdout();
            let mut writer = BufWriter::new(stdout.lock());
            match serde_json::to_writer_pretty(&mut writer, &value) {
                Ok(()) => {
                    writeln!(writer).ok();
                }
                Err(error) => {
                    eprintln!("Error formatting JSON: {error}");
                    process::exit(1);
                }
            }
        }
        Err(error) => {
            eprintln!("Invalid JSON: {error}");
            process::exit(1);
        }
    }
}
