//! `wherry`: what people and the shim ask for besides running containers.
//!
//! The shim runs `wherry compile` when code is not in the cache: the compiler meets hostile input
//! alone, in a jail. It runs `wherry fetch` when an image carries its program as a layer. The rest
//! is for people.

mod args;
mod cache;
mod compile;
mod doctor;
mod fetch;
mod fleet;
mod image;
mod inspect;
mod node;
mod ps;

use std::process::ExitCode;

use args::Command;

/// musl's own allocator is slow with several threads, and compiling is little but allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match args::parse(lexopt::Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("wherry: {error}\nTry `wherry help`.");
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Help => print(args::HELP),
        Command::Version => print(concat!("wherry ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::EngineId => compile::engine_id().and_then(|id| print(&format!("{id}\n"))),
        // These two answer their caller on descriptor 2, whatever happens.
        Command::Compile(how) => return compile::run(&how),
        Command::Fetch(what) => return fetch::run(&what),
        // Its exit code is what it found.
        Command::Doctor(what) => return doctor::run(&what),
        Command::Ps(what) => ps::run(&what),
        Command::Cache(what) => cache::run(&what),
        Command::Image(what) => image::run(&what),
        Command::Fleet(words) => fleet::run(&words),
        Command::Inspect { file, json } => inspect::run(&file, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wherry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints; a reader that has gone away (`wherry help | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
