//! Starts guests in processes of their own, so that exit codes, signals and streams are real.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;
use wherry_core::plan::{Preopen, Profile, Run};
use wherry_engine::compile::{CompileError, Report, compile};

/// A program and what it is given.
#[derive(Debug)]
pub struct Guest {
    pub folder: TempDir,
    profile: Profile,
    pub run: Run,
    /// The file of a cgroup that tells the limit of memory.
    pub memory: Option<PathBuf>,
}

impl Guest {
    /// From WebAssembly, or its text.
    pub fn new(program: impl AsRef<[u8]>) -> Guest {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut code = Vec::new();
        let report = compiled(program.as_ref(), &mut code).expect("a valid program");
        std::fs::write(folder.path().join("code"), code).expect("room for the code");
        let run = Run {
            args: vec!["guest.wasm".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            export: None,
            preopens: Vec::new(),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: NonZeroUsize::new(1).and_then(|one| one.try_into().ok()),
            memory_limit: None,
        };
        Guest { folder, profile: report.profile, run, memory: None }
    }

    pub fn args(mut self, args: &[&str]) -> Guest {
        self.run.args.extend(args.iter().map(ToString::to_string));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Guest {
        self.run.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn export(mut self, name: &str) -> Guest {
        self.run.export = Some(name.to_owned());
        self
    }

    pub fn preopen(mut self, path: &Path, read_only: bool) -> Guest {
        let path = path.to_str().expect("a plain path").to_owned();
        self.run.preopens.push(Preopen { path, read_only });
        self
    }

    pub fn command(&self) -> Command {
        let plan = self.folder.path().join("run.json");
        std::fs::write(&plan, serde_json::to_vec(&self.run).expect("plain data")).expect("room");
        let mut command = Command::new(harness());
        command
            .arg(if self.profile == Profile::Service { "service" } else { "command" })
            .arg(self.folder.path().join("code"))
            .arg(plan);
        command.args(&self.memory);
        command
    }

    pub fn start(&self) -> Child {
        self.start_with(&[])
    }

    /// Behind a program that changes what it starts.
    pub fn start_with(&self, wrapper: &[&str]) -> Child {
        let guest = self.command();
        let mut command = match wrapper {
            [] => guest,
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(guest.get_program()).args(guest.get_args());
                command
            }
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the harness")
    }

    /// Runs to the end and shows what can be observed.
    pub fn show(&self) -> String {
        self.show_with_input("")
    }

    pub fn show_with_input(&self, input: &str) -> String {
        let mut child = self.start();
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("a guest that reads");
        drop(stdin);
        show(&child.wait_with_output().expect("an end"))
    }
}

/// The program that cargo built beside the tests.
fn harness() -> PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let target = tests.ancestors().nth(2).expect("target/debug/deps/test");
    let harness = target.join("examples/guest");
    assert!(harness.exists(), "{} is missing: run the tests with cargo", harness.display());
    harness
}

pub fn compiled(program: &[u8], out: &mut Vec<u8>) -> Result<Report, CompileError> {
    compile(program, NonZeroUsize::MIN, out)
}

pub fn show(output: &Output) -> String {
    format!(
        "{}{}{}\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        show_status(output.status)
    )
}

pub fn show_status(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit {code}"),
        None => status.to_string(),
    }
}
