//! Compiles programs, and runs compiled code with no sandbox around it: what the tests and
//! measurements of the engine start.
//!
//! ```text
//! guest compile PROGRAM CODE      prints the profile
//! guest command|service CODE RUN [MEMORY]
//!     RUN is a file with the plan's part as JSON, MEMORY one with the limit of memory;
//!     the environment's TERMINATION_LOG names the termination log
//! ```

use std::fs::File;
use std::num::NonZeroUsize;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["compile", program, code] => compile(program, code),
        [profile @ ("command" | "service"), code, run] => execute(profile, code, run, None),
        [profile @ ("command" | "service"), code, run, memory] => {
            execute(profile, code, run, Some(memory))
        }
        _ => {
            eprintln!("usage: guest compile PROGRAM CODE | guest command|service CODE RUN");
            ExitCode::from(2)
        }
    }
}

fn compile(program: &str, code: &str) -> ExitCode {
    let program = std::fs::read(program).expect("the program");
    let mut code = File::create(code).expect("a place for the code");
    match wherry_engine::compile::compile(&program, NonZeroUsize::MIN, &mut code) {
        Ok(report) => {
            println!("{}", serde_json::to_string(&report).expect("plain data"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(profile: &str, code: &str, run: &str, memory: Option<&str>) -> ExitCode {
    let memory = memory.map(|path| File::open(path).expect("the file of the limit"));
    let profile = serde_json::from_str(&format!("{profile:?}")).expect("a profile");
    let code = File::open(code).expect("the compiled code");
    let run = serde_json::from_reader(File::open(run).expect("the plan")).expect("a plan");
    let log = std::env::var_os("TERMINATION_LOG").map(Into::into);
    match wherry_engine::load(profile, code, &run, memory, log) {
        Ok(loaded) => std::process::exit(loaded.run().code()),
        Err(refusal) => {
            eprintln!("refused: {refusal}");
            ExitCode::from(126)
        }
    }
}
