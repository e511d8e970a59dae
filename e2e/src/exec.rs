//! A further process in a container that runs, as `ctr tasks exec` makes it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::command::{Output, patient, until};
use crate::pipes::Pipes;
use crate::task::{RUN, Task};
use crate::tasks::{Call, Daemon, Refused, State, Status, Tasks, Told};

/// What is to run.
#[derive(Debug)]
pub struct Exec {
    process: Value,
    stdin: Option<Vec<u8>>,
    terminal: bool,
}

impl Exec {
    pub fn of(words: &[&str]) -> Exec {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let process = json!({
            "args": words, "cwd": "/", "env": [path], "user": { "uid": 0, "gid": 0 },
            "noNewPrivileges": true
        });
        Exec { process, stdin: None, terminal: false }
    }

    pub fn stdin(mut self, text: &str) -> Exec {
        self.stdin = Some(text.as_bytes().to_vec());
        self
    }

    /// With a terminal of 24 rows and 80 columns, whose input stays open.
    pub fn terminal(mut self) -> Exec {
        self.terminal = true;
        self.stdin.get_or_insert_default();
        self.process["terminal"] = json!(true);
        self.process["consoleSize"] = json!({ "height": 24, "width": 80 });
        self
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Exec {
        edit(&mut self.process);
        self
    }

    /// Adds it; it runs when it is started.
    pub fn add_to(self, task: &Task) -> std::result::Result<Added, Refused> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = format!("e{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let folder: PathBuf = std::env::temp_dir().join(format!(
            "wherry-exec-{}-{}-{id}",
            std::process::id(),
            task.id
        ));
        let mut pipes = Pipes::new(folder, self.stdin.is_some());
        if self.terminal {
            pipes.stdio.terminal = true;
            pipes.one_output();
        }
        let tasks = Tasks::Daemon(Daemon(task.client().clone()));
        let process = self.process.to_string().into_bytes();
        let call = Call::Exec { process, stdio: pipes.stdio.clone() };
        tasks.ask(&task.id, &id, &call)?;
        if let Some(input) = self.stdin.filter(|_| !self.terminal) {
            pipes.feed(input);
        }
        Ok(Added { tasks, task: task.id.clone(), id, pipes, deleted: false })
    }

    /// Adds, starts, waits for and deletes it.
    pub fn run(self, task: &Task) -> Result<Output> {
        let told = format!("exec {}", self.process["args"]);
        // The end of a terminal's input is its end.
        let fed = self.stdin.is_some() && !self.terminal;
        let mut exec = self.add_to(task).with_context(|| told.clone())?;
        exec.start().with_context(|| told.clone())?;
        if fed {
            exec.end_stdin().with_context(|| told.clone())?;
        }
        exec.finish().with_context(|| told.clone())
    }
}

/// An exec that is known to containerd.
#[derive(Debug)]
pub struct Added {
    tasks: Tasks,
    task: String,
    pub id: String,
    pub pipes: Pipes,
    deleted: bool,
}

impl Added {
    pub fn ask(&self, call: &Call) -> std::result::Result<Told, Refused> {
        self.tasks.ask(&self.task, &self.id, call)
    }

    pub fn start(&self) -> std::result::Result<u32, Refused> {
        match self.ask(&Call::Start)? {
            Told::Pid(pid) => Ok(pid),
            _ => Ok(0),
        }
    }

    pub fn state(&self) -> Result<State> {
        match self.ask(&Call::State)? {
            Told::State(state) => Ok(state),
            other => bail!("no state: {other:?}"),
        }
    }

    pub fn kill(&self, signal: u32) -> std::result::Result<(), Refused> {
        self.ask(&Call::Kill { signal, all: false }).map(drop)
    }

    /// Waits until everything meant for stdin is in the pipe, then closes it.
    pub fn end_stdin(&mut self) -> Result<()> {
        self.pipes.fed()?;
        match self.ask(&Call::CloseIo { stdin: true }) {
            // A program that ended before its input did is no fault.
            Err(refused) if self.state()?.status == Status::Running => Err(refused.into()),
            _ => Ok(()),
        }
    }

    /// Types into its terminal.
    pub fn types(&self, text: &str) -> Result<()> {
        use std::io::Write;
        let mut pipe = std::fs::File::options().write(true).open(&self.pipes.stdio.stdin)?;
        Ok(pipe.write_all(text.as_bytes())?)
    }

    pub fn says(&self, text: &str) -> Result<()> {
        let said = || self.pipes.out.text();
        ensure!(until(RUN, || said().contains(text)), "never said {text:?}: {:?}", said());
        Ok(())
    }

    /// Waits for its end and deletes it.
    pub fn finish(&mut self) -> Result<Output> {
        let end = Instant::now() + patient(RUN);
        while self.state()?.status != Status::Stopped {
            ensure!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        let Told::Exit(waited) = self.ask(&Call::Wait)? else { bail!("Wait told no exit") };
        let Told::Exit(deleted) = self.ask(&Call::Delete)? else { bail!("Delete told no exit") };
        self.deleted = true;
        ensure!(waited.status == deleted.status, "{waited:?} and {deleted:?}");
        let (stdout, stderr) = self.pipes.collect();
        Ok(Output { code: i32::try_from(waited.status)?, stdout, stderr })
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if !self.deleted {
            self.kill(9).ok();
            until(Duration::from_secs(10), || self.ask(&Call::Delete).is_ok());
        }
    }
}
