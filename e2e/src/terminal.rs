//! A person's terminal: keys that are typed, and what is seen.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::command::{self, until};

const SOON: Duration = Duration::from_secs(30);

/// Someone at a terminal.
#[derive(Debug)]
pub struct Person {
    keys: File,
    seen: Arc<Mutex<String>>,
    program: Child,
}

impl Person {
    /// Runs a program there.
    pub fn at(mut command: Command) -> Result<Person> {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?.into_string()?;
        let other = File::options().read(true).write(true).open(name)?;
        command.stdin(other.try_clone()?).stdout(other.try_clone()?).stderr(Stdio::from(other));
        let program = command.spawn()?;
        // The command holds the terminal's other end open, which would never tell its end.
        drop(command);
        let keys = File::from(terminal);
        let mut screen = keys.try_clone()?;
        let seen = Arc::new(Mutex::new(String::new()));
        let shown = seen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(size @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..size]);
                shown.lock().expect("no holder panics").push_str(&text);
            }
        });
        Ok(Person { keys, seen, program })
    }

    /// Types, and waits until it is answered. What is asked must not be in the keys: they are echoed.
    pub fn types(&mut self, keys: &str, answer: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        let answered = || self.seen.lock().expect("no holder panics").contains(answer);
        ensure!(until(SOON, answered), "no {answer:?} in {:?}", self.seen);
        Ok(())
    }

    /// The program's exit code, when it has ended.
    pub fn left(mut self) -> Result<i32> {
        command::wait(&mut self.program, SOON).with_context(|| format!("{:?}", self.seen))
    }
}
