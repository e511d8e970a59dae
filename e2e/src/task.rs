//! One container from its making to its end, step by step over containerd's API.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let containerd = wherry_e2e::containerd::Containerd::chosen()?;
//! # let image: wherry_e2e::image::Image = unimplemented!();
//! let done = wherry_e2e::task::Container::of(&image).args(&["you"]).run(&containerd)?;
//! assert_eq!(done.stdout, "Hello, you!\n");
//! # Ok(()) }
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::client::{Client, NewContainer, Refused, Stdio};
use crate::command::{Output, until};
use crate::containerd::Containerd;
use crate::image::Image;
use crate::spec;

/// How long any test's container may run. A cold start compiles, on a busy machine.
pub const RUN: Duration = Duration::from_secs(90);

type Edit = Box<dyn FnOnce(&mut Value) + Send>;

/// A container to be made.
pub struct Container {
    image: Image,
    args: Vec<String>,
    env: Vec<String>,
    mounts: Vec<Value>,
    /// `None`: no stdin at all. `Some`: this, and then its end.
    stdin: Option<Vec<u8>>,
    terminal: bool,
    /// Where both outputs go instead of our FIFOs: `file://` or `binary://`.
    log: Option<String>,
    edits: Vec<Edit>,
    runtime: Option<String>,
    id: Option<String>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.image.reference, self.args)
    }
}

impl Container {
    pub fn of(image: &Image) -> Container {
        Container {
            image: image.clone(),
            args: Vec::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            stdin: None,
            terminal: false,
            log: None,
            edits: Vec::new(),
            runtime: None,
            id: None,
        }
    }

    /// Arguments after the image's entrypoint.
    pub fn args(mut self, words: &[&str]) -> Container {
        self.args.extend(words.iter().map(|word| word.to_string()));
        self
    }

    pub fn env(mut self, setting: &str) -> Container {
        self.env.push(setting.to_string());
        self
    }

    pub fn stdin(mut self, text: &str) -> Container {
        self.stdin = Some(text.as_bytes().to_vec());
        self
    }

    /// With a terminal: one output, and lines that end as a terminal's do.
    pub fn terminal(mut self) -> Container {
        self.terminal = true;
        self.edit(|spec| spec["process"]["terminal"] = json!(true))
    }

    /// With outputs that are not FIFOs but `file://` or `binary://` addresses.
    pub fn log(mut self, uri: &str) -> Container {
        self.log = Some(uri.to_string());
        self
    }

    /// Binds a file or folder of this machine; `options` such as `ro`.
    pub fn bind(mut self, source: &Path, destination: &str, options: &[&str]) -> Container {
        let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
        self.mounts.push(json!({
            "destination": destination, "type": "bind", "source": source, "options": options
        }));
        self
    }

    /// Anything else that a spec can say.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value) + Send + 'static) -> Container {
        self.edits.push(Box::new(edit));
        self
    }

    pub fn annotation(self, key: &str, value: &str) -> Container {
        let (key, value) = (key.to_string(), value.to_string());
        self.edit(move |spec| spec["annotations"][key] = json!(value))
    }

    /// Bytes of memory.
    pub fn memory(self, limit: u64) -> Container {
        self.edit(move |spec| spec["linux"]["resources"]["memory"] = json!({ "limit": limit }))
    }

    /// Without a network namespace of its own: what runs inside is on this machine's loopback.
    pub fn host_network(self) -> Container {
        self.edit(|spec| {
            if let Some(all) = spec["linux"]["namespaces"].as_array_mut() {
                all.retain(|namespace| namespace["type"] != "network");
            }
        })
    }

    pub fn runtime(mut self, name: &str) -> Container {
        self.runtime = Some(name.to_string());
        self
    }

    pub fn id(mut self, id: &str) -> Container {
        self.id = Some(id.to_string());
        self
    }

    /// The spec as it will be.
    fn spec(&mut self, id: &str, namespace: &str) -> Value {
        let mut spec = spec::default(&self.image, id, namespace);
        let append = |list: &mut Value, more: Vec<Value>| {
            if let Some(list) = list.as_array_mut() {
                list.extend(more);
            }
        };
        append(&mut spec["process"]["args"], self.args.drain(..).map(Value::from).collect());
        append(&mut spec["process"]["env"], self.env.drain(..).map(Value::from).collect());
        append(&mut spec["mounts"], std::mem::take(&mut self.mounts));
        for edit in self.edits.drain(..) {
            edit(&mut spec);
        }
        spec
    }

    /// Makes the container and its task, which waits to be started. When the task is refused,
    /// container and snapshot are removed again, and nothing must be left.
    pub fn create(self, containerd: &Containerd) -> std::result::Result<Task, Refused> {
        self.create_timed(containerd).map(|(task, _)| task)
    }

    /// As [`Container::create`], with the time that containerd's `Tasks.Create` took.
    pub fn create_timed(
        mut self,
        containerd: &Containerd,
    ) -> std::result::Result<(Task, Duration), Refused> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = self.id.take().unwrap_or_else(|| {
            format!("c{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
        });
        let client = containerd.client();
        let runtime = self.runtime.take();
        let new = NewContainer {
            id: id.clone(),
            image: self.image.reference.clone(),
            runtime: runtime.unwrap_or_else(|| containerd.runtime.name().to_string()),
            runtime_options: None,
            spec: self.spec(&id, &containerd.place.tag),
            labels: Vec::new(),
        };
        let mut pipes =
            Pipes::new(containerd.place.path(&format!("io-{id}")), self.stdin.is_some());
        pipes.stdio.terminal = self.terminal;
        if self.terminal {
            pipes.stdio.stderr.clear();
            pipes.unused(&["err"]);
        }
        if let Some(log) = self.log.take() {
            (pipes.stdio.stdout, pipes.stdio.stderr) = (log.clone(), log);
            pipes.unused(&["out", "err"]);
        }
        let mut took = Duration::ZERO;
        // The container first: it holds the snapshot, which nobody else keeps from being collected.
        let made = client.create_container(new).and_then(|()| {
            let mounts = client.prepare_snapshot(&id, &self.image.chain_id)?;
            let before = Instant::now();
            let made = client.create_task(&id, mounts, &pipes.stdio);
            took = before.elapsed();
            made
        });
        match made {
            Ok(pid) => {
                let mut task = Task { client, id, pid, pipes, deleted: false };
                if let Some(input) = self.stdin {
                    task.pipes.feed(input);
                }
                Ok((task, took))
            }
            Err(refused) => {
                client.remove_snapshot(&id).ok();
                client.delete_container(&id).ok();
                Err(refused)
            }
        }
    }

    /// Makes, starts, waits for and deletes it.
    pub fn run(self, containerd: &Containerd) -> Result<Output> {
        let told = format!("{self:?}");
        let fed = self.stdin.is_some();
        let mut task = self.create(containerd).with_context(|| told.clone())?;
        task.start().with_context(|| told.clone())?;
        if fed {
            task.end_stdin().with_context(|| told.clone())?;
        }
        let code = task.wait(RUN).with_context(|| told.clone())?;
        task.delete().with_context(|| told.clone())?;
        let (stdout, stderr) = task.output();
        Ok(Output { code, stdout, stderr })
    }
}

/// A task of containerd. Dropped, it is killed and deleted, so that a failed test leaves nothing.
#[derive(Debug)]
pub struct Task {
    client: Client,
    pub id: String,
    /// As Create answered it.
    pub pid: u32,
    pipes: Pipes,
    deleted: bool,
}

impl Task {
    pub fn start(&self) -> std::result::Result<u32, Refused> {
        self.client.start(&self.id)
    }

    pub fn wait(&self, limit: Duration) -> Result<i32> {
        let code = self.client.wait(&self.id, limit)?;
        Ok(i32::try_from(code)?)
    }

    pub fn kill(&self, signal: u32) -> std::result::Result<(), Refused> {
        self.client.kill(&self.id, signal)
    }

    /// Waits until everything meant for stdin is in the pipe, then closes it.
    pub fn end_stdin(&mut self) -> Result<()> {
        self.pipes.fed()?;
        match self.client.close_stdin(&self.id) {
            // A program that ended before its input did is no fault.
            Err(refused) if self.client.state(&self.id).is_ok_and(|(_, _, code)| code == 0) => {
                Err(refused.into())
            }
            _ => Ok(()),
        }
    }

    /// Deletes the task, its container and its snapshot. The exit code is what containerd remembers.
    pub fn delete(&mut self) -> Result<i32> {
        let code = self.delete_task()?;
        self.delete_rest()?;
        Ok(code)
    }

    /// Deletes the task alone. The container is still there, and takes another.
    pub fn delete_task(&mut self) -> Result<i32> {
        let code = self.client.delete_task(&self.id).context("delete task")?;
        self.deleted = true;
        Ok(i32::try_from(code)?)
    }

    pub fn delete_rest(&mut self) -> Result<()> {
        self.client.remove_snapshot(&self.id).context("remove snapshot")?;
        self.client.delete_container(&self.id).context("delete container")
    }

    /// All of stdout and stderr: waits for their ends, which must come once the task is over.
    pub fn output(&mut self) -> (String, String) {
        self.pipes.collect()
    }

    /// stdout so far.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.pipes.out.bytes.lock().expect("no holder panics"))
            .into_owned()
    }

    /// Waits until stdout holds `text`.
    pub fn says(&self, text: &str) -> Result<()> {
        if !until(RUN, || self.so_far().contains(text)) {
            bail!(
                "{} never said {text:?}: {:?}, {:?}",
                self.id,
                self.so_far(),
                self.pipes.err.text()
            );
        }
        Ok(())
    }

    /// When the first byte of stdout arrived.
    pub fn first_output(&self) -> Option<Instant> {
        self.pipes.out.first.get().copied()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives up the task without deleting it: what happens next is the test's matter.
    pub fn forget(mut self) -> String {
        self.deleted = true;
        self.id.clone()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.deleted {
            return;
        }
        self.client.kill(&self.id, 9).ok();
        self.client.wait(&self.id, Duration::from_secs(10)).ok();
        self.client.delete_task(&self.id).ok();
        self.client.remove_snapshot(&self.id).ok();
        self.client.delete_container(&self.id).ok();
    }
}

/// The FIFOs of a task, as containerd's clients make them.
#[derive(Debug)]
struct Pipes {
    folder: PathBuf,
    stdio: Stdio,
    out: Collector,
    err: Collector,
    feeder: Option<JoinHandle<std::io::Result<()>>>,
}

impl Pipes {
    fn new(folder: PathBuf, stdin: bool) -> Pipes {
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
        let (out, err) = (Collector::new(path("out")), Collector::new(path("err")));
        Pipes { folder, stdio, out, err, feeder: None }
    }

    /// Outputs that nobody will open: opened and closed, so that they end.
    fn unused(&self, names: &[&str]) {
        for name in names {
            File::options().write(true).open(self.folder.join(name)).ok();
        }
    }

    fn feed(&mut self, input: Vec<u8>) {
        let path = self.folder.join("in");
        self.feeder = Some(thread::spawn(move || {
            let mut pipe = File::options().write(true).open(path)?;
            pipe.write_all(&input)
        }));
    }

    fn fed(&mut self) -> Result<()> {
        let Some(feeder) = self.feeder.take() else { return Ok(()) };
        if !until(RUN, || feeder.is_finished()) {
            bail!("nobody reads stdin");
        }
        match feeder.join().expect("the feeder does not panic") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn collect(&mut self) -> (String, String) {
        (self.out.finish(), self.err.finish())
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // A thread that still waits for someone to open the other end is let go.
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
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    first: Arc<OnceLock<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(path: PathBuf) -> Collector {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = bytes.clone();
        let first: Arc<OnceLock<Instant>> = Arc::default();
        let arrived = first.clone();
        let thread = thread::spawn(move || {
            let Ok(mut pipe) = File::open(path) else { return };
            let mut buffer = [0; 64 * 1024];
            while let Ok(size @ 1..) = pipe.read(&mut buffer) {
                arrived.get_or_init(Instant::now);
                into.lock().expect("no holder panics").extend_from_slice(&buffer[..size]);
            }
        });
        Collector { bytes, first, thread: Some(thread) }
    }

    fn text(&self) -> String {
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
