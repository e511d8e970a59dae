//! `wherry compile`: a program on descriptor 0 becomes code on descriptor 1.
//!
//! The jail comes before the first byte of the program is read. For people, who name files, these
//! become descriptors 0 and 1 first; from there on it is the same.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use wherry_engine::compile::{self as engine, Report};
use wherry_sandbox::jail::{self, Limits};

use crate::args::Compile;

/// Bytes of code a module may become: far more than any real one does.
const OUTPUT: u64 = 2 << 30;

pub(crate) fn engine_id() -> anyhow::Result<String> {
    Ok(engine::engine_id()?)
}

pub(crate) fn run(how: &Compile) -> ExitCode {
    let compiled = match &how.files {
        None => compile(how),
        Some((from, to)) => redirect(from, to).and_then(|()| compile(how)),
    };
    let for_people = how.files.is_some();
    match compiled {
        Ok(_) if for_people => ExitCode::SUCCESS,
        Ok(report) => {
            eprintln!("{}", serde_json::json!({ "profile": report.profile, "kind": report.kind }));
            ExitCode::SUCCESS
        }
        Err(error) if for_people => {
            eprintln!("wherry: {error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}", serde_json::json!({ "error": format!("{error:#}") }));
            ExitCode::FAILURE
        }
    }
}

fn compile(how: &Compile) -> anyhow::Result<Report> {
    if how.jailed {
        let limits = Limits { memory: how.memory, cpu_seconds: how.cpu_seconds, output: OUTPUT };
        jail::enter(&limits).context("can't enter the compiler's jail")?;
    }
    let mut program = Vec::new();
    match io::stdin().lock().read_to_end(&mut program) {
        // As every other allocation that fails: whoever set the limit knows the signal.
        Err(error) if error.kind() == ErrorKind::OutOfMemory => std::process::abort(),
        read => read.context("can't read the program")?,
    };
    Ok(engine::compile(&program, how.threads, &mut io::stdout().lock())?)
}

fn redirect(from: &Path, to: &Path) -> anyhow::Result<()> {
    let program = File::open(from).with_context(|| format!("can't open {}", from.display()))?;
    let code = File::create(to).with_context(|| format!("can't write {}", to.display()))?;
    rustix::stdio::dup2_stdin(&program)?;
    rustix::stdio::dup2_stdout(&code)?;
    Ok(())
}
