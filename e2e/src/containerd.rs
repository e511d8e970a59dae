//! A private containerd: own root, state, socket and version, with the programs under test first on its `PATH`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cgroups::Driver;
use crate::client::Client;
use crate::command::{self, Output, until};
use crate::image::Image;
use crate::leaks;
use crate::place::{Network, Place};
use crate::rig::{self, Runtime, Version};

/// How long a daemon may take to answer or to end.
const DAEMON: Duration = Duration::from_secs(30);
/// How long one `ctr` may take. A cold start compiles.
pub const COMMAND: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Containerd {
    pub place: Place,
    pub version: Version,
    pub runtime: Runtime,
    pub cgroups: Driver,
    programs: PathBuf,
    path: String,
    daemon: Mutex<Option<Child>>,
    client: Mutex<Option<Client>>,
}

impl Containerd {
    /// The version and the runtime that the environment names.
    pub fn chosen() -> Result<Containerd> {
        let runtime = Runtime::chosen()?;
        let ours = match runtime {
            Runtime::Wherry => vec![rig::programs()?],
            Runtime::Runc => Vec::new(),
        };
        Containerd::start(Version::chosen()?, runtime, Network::Machine, &ours)
    }

    /// Starts containerd with the shims in `folders` before all others.
    pub fn start(
        version: Version,
        runtime: Runtime,
        network: Network,
        folders: &[PathBuf],
    ) -> Result<Containerd> {
        Containerd::start_as(version, runtime, network, folders, bare)
    }

    /// As [`Containerd::start`], with a configuration that goes after root, state and socket.
    pub fn start_as(
        version: Version,
        runtime: Runtime,
        network: Network,
        folders: &[PathBuf],
        config: impl FnOnce(&Containerd) -> String,
    ) -> Result<Containerd> {
        let programs = version.programs()?;
        let mut path: Vec<String> =
            folders.iter().map(|folder| folder.display().to_string()).collect();
        path.push(programs.display().to_string());
        path.push(rig::runc()?.display().to_string());
        path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string());
        let containerd = Containerd {
            place: Place::new(network)?,
            version,
            runtime,
            cgroups: Driver::chosen()?,
            programs,
            path: path.join(":"),
            daemon: Mutex::new(None),
            client: Mutex::new(None),
        };
        containerd.configure(&config(&containerd))?;
        containerd.resume()?;
        Ok(containerd)
    }

    fn configure(&self, more: &str) -> Result<()> {
        let version = if self.version == Version::V1_7 { 2 } else { 3 };
        let config = format!(
            r#"version = {version}
root = "{root}"
state = "{state}"
{more}
[grpc]
address = "{socket}"
[debug]
level = "warn"
"#,
            root = self.place.path("root").display(),
            state = self.place.path("state").display(),
            socket = self.socket().display(),
        );
        fs::write(self.place.path("config.toml"), config)?;
        Ok(())
    }

    pub fn socket(&self) -> PathBuf {
        self.place.path("containerd.sock")
    }

    /// Where containerd finds its programs, for a daemon that brings its own.
    pub fn search_path(&self) -> &str {
        &self.path
    }

    /// Starts the daemon, again if it was [stopped](Containerd::stop).
    pub fn resume(&self) -> Result<()> {
        let mut daemon = self.daemon.lock().expect("no holder panics");
        let log =
            File::options().create(true).append(true).open(self.place.path("containerd.log"))?;
        let mut command = self.place.daemon(self.programs.join("containerd"))?;
        command.arg("--config").arg(self.place.path("config.toml"));
        command.env("PATH", &self.path).env("WHERRY_E2E", &self.place.tag);
        command.stdout(log.try_clone()?).stderr(log);
        *daemon = Some(command.spawn().context("containerd")?);
        drop(daemon);
        let answers = until(DAEMON, || match Client::connect(&self.socket(), &self.place.tag) {
            Ok(client) => client.version().is_ok_and(|_| {
                *self.client.lock().expect("no holder panics") = Some(client.clone());
                true
            }),
            Err(_) => false,
        });
        if !answers {
            bail!("containerd does not answer:\n{}", self.log());
        }
        Ok(())
    }

    /// Another containerd in the place of this one, on the same root, state and configuration.
    pub fn upgrade(&mut self, version: Version) -> Result<()> {
        self.stop()?;
        let (old, new) = (self.programs.display().to_string(), version.programs()?);
        self.path = self.path.replace(&old, &new.display().to_string());
        (self.version, self.programs) = (version, new);
        self.resume()
    }

    /// Ends the daemon; shims and containers stay, as they do when containerd is upgraded.
    pub fn stop(&self) -> Result<()> {
        self.end(rustix::process::Signal::TERM)
    }

    /// Ends the daemon as a crash does.
    pub fn crash(&self) -> Result<()> {
        self.end(rustix::process::Signal::KILL)
    }

    fn end(&self, signal: rustix::process::Signal) -> Result<()> {
        *self.client.lock().expect("no holder panics") = None;
        let Some(mut child) = self.daemon.lock().expect("no holder panics").take() else {
            return Ok(());
        };
        // setpriv and nsenter have become containerd by exec: it is our own child.
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).context("containerd")?;
        command::wait(&mut child, DAEMON).context("containerd does not end")?;
        Ok(())
    }

    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.lock().expect("no holder panics").as_ref().map(Child::id)
    }

    /// A connection in our containerd namespace.
    pub fn client(&self) -> Client {
        let client = self.client.lock().expect("no holder panics").clone();
        client.expect("the daemon is running")
    }

    /// What the daemon and its shims have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path("containerd.log")).unwrap_or_default()
    }

    /// `ctr` in our containerd namespace.
    pub fn ctr(&self, words: &[&str]) -> Command {
        self.ctr_in(&self.place.tag, words)
    }

    /// `ctr` in another of them.
    pub fn ctr_in(&self, namespace: &str, words: &[&str]) -> Command {
        let mut command = self.place.command(self.programs.join("ctr"));
        command.arg("--address").arg(self.socket()).arg("--namespace").arg(namespace);
        command.args(words).env("PATH", &self.path);
        command
    }

    /// Runs `ctr` to its end.
    pub fn ctr_output(&self, words: &[&str], input: &[u8]) -> Result<Output> {
        command::run(&mut self.ctr(words), input, COMMAND)
    }

    /// Makes an image known to this containerd and unpacks it.
    pub fn import(&self, image: &Image) -> Result<()> {
        let tar = image.tar.display().to_string();
        // Whatever its platform says: a client that pulls picks one, an import takes them all.
        let mut words = vec!["images", "import", "--all-platforms", &tar];
        if image.chain_id.is_empty() {
            words.insert(2, "--no-unpack");
        }
        if self.version != Version::V1_7 {
            words.insert(2, "--local");
        }
        self.ctr_output(&words, b"")?.ok()?;
        Ok(())
    }

    /// The folder where containerd keeps the bundles of running containers.
    pub fn bundles(&self) -> PathBuf {
        self.place.path("state/io.containerd.runtime.v2.task").join(&self.place.tag)
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.bundles().join(id)
    }

    /// A folder for files of a test.
    pub fn scratch(&self) -> &Path {
        self.place.root()
    }
}

/// Neither Kubernetes nor NRI is asked for; without them the daemon is up in half the time.
fn bare(_: &Containerd) -> String {
    r#"disabled_plugins = [
    "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.sandbox.controller.v1.podsandbox",
    "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
]"#
    .to_string()
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
        leaks::sweep(self);
    }
}
