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

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::{Client, NewContainer, Refused, runc_options, text_options};
use crate::command::{Output, until};
use crate::containerd::Containerd;
use crate::image::Image;
use crate::pipes::Pipes;
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
    unread: bool,
    silent: bool,
    /// Where both outputs go instead of our FIFOs: `file://` or `binary://`.
    log: Option<String>,
    edits: Vec<Edit>,
    runtime: Option<String>,
    options: Option<String>,
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
            unread: false,
            silent: false,
            log: None,
            edits: Vec::new(),
            runtime: None,
            options: None,
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
    /// There is an input, which its client never opens, having nothing to say.
    pub fn silent(mut self) -> Container {
        self.silent = true;
        self.stdin("")
    }

    pub fn terminal(mut self) -> Container {
        self.terminal = true;
        self.edit(|spec| spec["process"]["terminal"] = json!(true))
    }

    /// With outputs that nobody reads until [`Task::read`].
    pub fn unread(mut self) -> Container {
        self.unread = true;
        self
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

    /// What the administrator wrote for our handler.
    pub fn options(mut self, toml: &str) -> Container {
        self.options = Some(toml.to_string());
        self
    }

    pub fn id(mut self, id: &str) -> Container {
        self.id = Some(id.to_string());
        self
    }

    /// The spec as it will be.
    fn spec(&mut self, cgroups_path: &str) -> Value {
        let mut spec = spec::default(&self.image, cgroups_path);
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
        let cgroups = containerd.cgroups;
        let options = match (&self.options, &runtime) {
            (Some(toml), _) => Some(text_options(toml)),
            (None, None) => cgroups.options(containerd.runtime).map(runc_options),
            (None, Some(_)) => None,
        };
        let new = NewContainer {
            id: id.clone(),
            image: self.image.reference.clone(),
            runtime: runtime.unwrap_or_else(|| containerd.runtime.name().to_string()),
            runtime_options: options,
            spec: self.spec(&cgroups.path(&containerd.place.tag, &id)),
            labels: Vec::new(),
        };
        let open = if self.unread { Pipes::unread } else { Pipes::new };
        let mut pipes = open(containerd.place.path(&format!("io-{id}")), self.stdin.is_some());
        pipes.stdio.terminal = self.terminal;
        if self.terminal {
            pipes.one_output();
        }
        if let Some(log) = self.log.take() {
            pipes.outputs_elsewhere(&log);
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
                if let Some(input) = self.stdin.filter(|_| !self.silent) {
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

    /// Reads the outputs of one that was made [unread](Container::unread).
    pub fn read(&self) {
        self.pipes.read();
    }

    /// stdout so far.
    pub fn so_far(&self) -> String {
        self.pipes.out.text()
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
        self.pipes.out.first()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The task as another daemon on the same state has it.
    pub fn reconnect(&mut self, containerd: &Containerd) {
        self.client = containerd.client();
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
