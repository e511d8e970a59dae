//! The three streams of a task: FIFOs, as containerd's own clients make them, fed and read by threads.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::fs::{Mode, OFlags};

use crate::client::Stdio;
use crate::command::until;
use crate::task::RUN;

/// The FIFOs of a task, as containerd's clients make them.
#[derive(Debug)]
pub struct Pipes {
    folder: PathBuf,
    pub stdio: Stdio,
    pub out: Collector,
    pub err: Collector,
    feeder: Option<JoinHandle<std::io::Result<()>>>,
    readers: Arc<Readers>,
}

/// Whether somebody reads the outputs yet.
#[derive(Debug, Default)]
struct Readers {
    there: Mutex<bool>,
    came: Condvar,
}

impl Readers {
    fn wait(&self) {
        let there = self.there.lock().expect("no holder panics");
        let waited = self.came.wait_while(there, |there| !*there);
        drop(waited.expect("no holder panics"));
    }

    fn come(&self) {
        *self.there.lock().expect("no holder panics") = true;
        self.came.notify_all();
    }
}

impl Pipes {
    pub fn new(folder: PathBuf, stdin: bool) -> Pipes {
        let pipes = Pipes::unread(folder, stdin);
        pipes.read();
        pipes
    }

    /// Nobody reads the outputs until [`Pipes::read`].
    pub fn unread(folder: PathBuf, stdin: bool) -> Pipes {
        fs::create_dir_all(&folder).expect("the place is writable");
        let path = |name: &str| folder.join(name);
        for name in ["in", "out", "err"] {
            let made =
                rustix::fs::mkfifoat(rustix::fs::CWD, path(name), Mode::from_raw_mode(0o600));
            made.expect("the place is writable");
        }
        let text = |name: &str| path(name).display().to_string();
        let stdio = Stdio {
            stdin: if stdin { text("in") } else { String::new() },
            stdout: text("out"),
            stderr: text("err"),
            terminal: false,
        };
        let readers = Arc::<Readers>::default();
        let read = |name: &str| Collector::new(path(name), readers.clone());
        let (out, err) = (read("out"), read("err"));
        Pipes { folder, stdio, out, err, feeder: None, readers }
    }

    /// From now on somebody reads the outputs.
    pub fn read(&self) {
        self.readers.come();
    }

    /// stdout alone, as with a terminal.
    pub fn one_output(&mut self) {
        self.stdio.stderr.clear();
        self.unused("err");
    }

    /// Both outputs at an address that is no FIFO of ours.
    pub fn outputs_elsewhere(&mut self, uri: &str) {
        (self.stdio.stdout, self.stdio.stderr) = (uri.to_string(), uri.to_string());
        self.unused("out");
        self.unused("err");
    }

    /// An output that nobody will open: opened and closed, so that it ends, unless it has before.
    fn unused(&self, name: &str) {
        let collector = if name == "out" { &self.out } else { &self.err };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        until(RUN, || {
            collector.is_over()
                || rustix::fs::open(self.folder.join(name), flags, Mode::empty()).is_ok()
        });
    }

    pub fn feed(&mut self, input: Vec<u8>) {
        let path = self.folder.join("in");
        self.feeder = Some(thread::spawn(move || {
            let mut pipe = File::options().write(true).open(path)?;
            pipe.write_all(&input)
        }));
    }

    pub fn fed(&mut self) -> Result<()> {
        let Some(feeder) = self.feeder.take() else { return Ok(()) };
        if !until(RUN, || feeder.is_finished()) {
            bail!("nobody reads stdin");
        }
        match feeder.join().expect("the feeder does not panic") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub fn collect(&mut self) -> (String, String) {
        (self.out.finish(), self.err.finish())
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // A thread that still waits, or waits for someone to open the other end, is let go.
        self.readers.come();
        for name in ["out", "err"] {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK;
            rustix::fs::open(self.folder.join(name), flags, Mode::empty()).ok();
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        rustix::fs::open(self.folder.join("in"), flags, Mode::empty()).ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Reads a FIFO to its end in a thread.
#[derive(Debug)]
pub struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    first: Arc<OnceLock<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(path: PathBuf, readers: Arc<Readers>) -> Collector {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = bytes.clone();
        let first: Arc<OnceLock<Instant>> = Arc::default();
        let arrived = first.clone();
        let thread = thread::spawn(move || {
            readers.wait();
            let Ok(mut pipe) = File::open(path) else { return };
            let mut buffer = [0; 64 * 1024];
            while let Ok(size @ 1..) = pipe.read(&mut buffer) {
                arrived.get_or_init(Instant::now);
                into.lock().expect("no holder panics").extend_from_slice(&buffer[..size]);
            }
        });
        Collector { bytes, first, thread: Some(thread) }
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// When the first byte arrived.
    pub fn first(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no holder panics")).into_owned()
    }

    fn finish(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            if until(Duration::from_secs(15), || thread.is_finished()) {
                thread.join().ok();
            } else {
                return format!("{}\n<never closed>", self.text());
            }
        }
        self.text()
    }
}
