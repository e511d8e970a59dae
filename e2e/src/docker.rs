//! A private Docker Engine on a private containerd, in a network namespace of its own, where its bridges and
//! its firewall harm nobody.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::command::{self, Output, until};
use crate::containerd::{COMMAND, Containerd};
use crate::image::Image;
use crate::place::Network;
use crate::rig::{self, Runtime, Version};
use crate::suite::{Ground, World};

const DAEMON: Duration = Duration::from_secs(60);

/// One of the Docker Engines that are tested, with the containerd it is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    V26,
    V28,
    V29,
}

impl Engine {
    fn chosen() -> Result<Engine> {
        match env::var("WHERRY_DOCKER").as_deref() {
            Ok("26") => Ok(Engine::V26),
            Ok("28") => Ok(Engine::V28),
            Ok("29") | Err(_) => Ok(Engine::V29),
            Ok(other) => bail!("WHERRY_DOCKER={other} is none of 26, 28 and 29"),
        }
    }

    fn program(self) -> Result<PathBuf> {
        let (path, suite) = match self {
            Engine::V26 => ("debian/trixie/root/usr/sbin/dockerd", "docker-26"),
            Engine::V28 => ("debian/sid/root/usr/sbin/dockerd", "docker-28"),
            Engine::V29 => ("bin/dockerd29", "docker-29"),
        };
        rig::need(&rig::root().join(path), &format!("e2e/rig/fetch.sh {suite}"))
    }

    fn containerd(self) -> Version {
        match self {
            Engine::V26 => Version::V1_7,
            Engine::V28 => Version::V2_1,
            Engine::V29 => Version::V2_4,
        }
    }
}

/// Where a Docker Engine keeps its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The containerd image store: containerd's content and snapshots.
    Containerd,
    /// Docker's own store with its overlay2 driver: containerd never hears of an image.
    Docker,
}

impl Store {
    fn chosen() -> Result<Store> {
        match env::var("WHERRY_DOCKER_STORE").as_deref() {
            Ok("docker") => Ok(Store::Docker),
            Ok("containerd") | Err(_) => Ok(Store::Containerd),
            Ok(other) => bail!("WHERRY_DOCKER_STORE={other} is none of containerd and docker"),
        }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Docker {
    world: World,
    pub engine: Engine,
    pub store: Store,
    client: PathBuf,
    daemon: Mutex<Option<Child>>,
    loaded: Mutex<HashSet<String>>,
}

impl Docker {
    /// The engine, its store and the runtime that the environment names.
    pub fn chosen() -> Result<Docker> {
        let (engine, store, runtime) = (Engine::chosen()?, Store::chosen()?, Runtime::chosen()?);
        let ours = match runtime {
            Runtime::Wherry => vec![rig::programs()?],
            Runtime::Runc => Vec::new(),
        };
        let client = rig::need(&rig::root().join("bin/docker"), "e2e/rig/fetch.sh docker-29")?;
        let containerd = Containerd::start(engine.containerd(), runtime, Network::Own, &ours)?;
        let docker = Docker {
            world: World::that_packs(containerd),
            engine,
            store,
            client,
            daemon: Mutex::default(),
            loaded: Mutex::default(),
        };
        let mut loopback = docker.world.containerd.place.command(rig::busybox()?);
        command::run(loopback.args(["ip", "link", "set", "lo", "up"]), b"", COMMAND)?.ok()?;
        docker.configure(false)?;
        docker.start()?;
        Ok(docker)
    }

    /// Writes the daemon's configuration; its containers live on without it, or don't.
    pub fn configure(&self, live_restore: bool) -> Result<()> {
        let place = &self.world.containerd.place;
        let mut config = json!({
            "features": { "containerd-snapshotter": self.store == Store::Containerd },
            "data-root": place.path("docker"),
            "exec-root": place.path("docker-exec"),
            "pidfile": place.path("docker.pid"),
            "hosts": [format!("unix://{}", self.socket().display())],
            "containerd": self.world.containerd.socket(),
            "containerd-namespace": place.tag,
            "containerd-plugins-namespace": format!("{}-plugins", place.tag),
            "cgroup-parent": format!("/{}", place.tag),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            // The firewall publishes ports, on loopback too.
            "userland-proxy": false,
            "init-path": rig::root().join("bin/docker-init"),
            "runtimes": {
                "wasm": { "runtimeType": Runtime::Wherry.name() },
                "native": { "runtimeType": Runtime::Runc.name() },
            },
            "live-restore": live_restore,
            "log-level": "error",
        });
        if self.store == Store::Docker {
            config["storage-driver"] = json!("overlay2");
        }
        fs::write(place.path("daemon.json"), config.to_string())?;
        Ok(())
    }

    /// Starts the daemon, again if it was [ended](Docker::end).
    pub fn start(&self) -> Result<()> {
        let place = &self.world.containerd.place;
        let log = File::options().create(true).append(true).open(place.path("docker.log"))?;
        let mut command = place.daemon(self.engine.program()?)?;
        command.arg("--config-file").arg(place.path("daemon.json"));
        command.env("PATH", self.world.containerd.search_path());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("dockerd")?;
        *self.daemon.lock().expect("no holder panics") = Some(child);
        // An end is an answer too: there is no use in waiting longer.
        let mut ended = false;
        let answers = until(DAEMON, || {
            let gone = |child: &mut Option<Child>| {
                child.as_mut().is_none_or(|c| matches!(c.try_wait(), Ok(Some(_))))
            };
            if gone(&mut self.daemon.lock().expect("no holder panics")) {
                ended = true;
                return true;
            }
            let version = command::run(&mut self.command(&["version"]), b"", COMMAND);
            version.is_ok_and(|output| output.code == 0)
        });
        if !answers || ended {
            bail!("dockerd does not answer:\n{}", self.log());
        }
        Ok(())
    }

    /// Ends the daemon, and with it its containers if it is asked to and told to.
    pub fn end(&self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.daemon.lock().expect("no holder panics").take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&child), signal).context("dockerd")?;
        command::wait(&mut child, DAEMON).context("dockerd does not end")?;
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.world.containerd.place.path("docker.sock")
    }

    /// The client.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.args(words);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", self.world.containerd.place.path("docker-config"));
        command
    }

    /// Runs the client to its end, `input` on its stdin.
    pub fn docker(&self, words: &[&str], input: &str) -> Result<Output> {
        command::run(&mut self.command(words), input.as_bytes(), COMMAND)
    }

    /// What the client says if all is well, without the end of the line.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let output = self.docker(words, "")?.ok().with_context(|| words.join(" "))?;
        Ok(output.stdout.trim_end().to_string())
    }

    /// The image, known to Docker.
    pub fn load(&self, image: &Image) -> Result<String> {
        let mut loaded = self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !loaded.contains(&image.reference) {
            let tar = image.tar.display().to_string();
            self.ask(&["load", "--quiet", "--input", &tar])?;
            loaded.insert(image.reference.clone());
        }
        Ok(image.reference.clone())
    }

    pub fn runtime(&self) -> &'static str {
        self.world.containerd.runtime.name()
    }

    /// Does something in the daemon's network, where its published ports are.
    pub fn in_network<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.world.containerd.place.pid()))?;
        thread::scope(|threads| {
            let there = threads.spawn(|| {
                setns(&network, CloneFlags::CLONE_NEWNET)?;
                what()
            });
            there.join().map_err(|_| anyhow!("a panic in the daemon's network"))?
        })
    }
}

impl Docker {
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Ends the daemon for good.
    pub fn close(&self) -> Result<()> {
        self.end(Signal::TERM)?;
        // Docker leaves the bind mounts of its own network namespace, and, where it was killed once, of its root.
        let place = &self.world.containerd.place;
        let its = |at: &String| at.starts_with(&*place.path("docker").to_string_lossy());
        for mount in place.new_mounts().into_iter().filter(its) {
            if mount.contains("/docker-exec/netns/") || mount.ends_with("/docker") {
                command::run(place.command("umount").arg(mount), b"", COMMAND)?;
            }
        }
        Ok(())
    }
}

impl Ground for Docker {
    fn runtime(&self) -> Runtime {
        self.world.containerd.runtime
    }

    fn title(&self) -> String {
        self.world.title()
    }

    fn finish(&self) -> Result<()> {
        self.close()?;
        self.world.finish()
    }

    fn log(&self) -> String {
        let docker = self.world.containerd.place.path("docker.log");
        fs::read_to_string(docker).unwrap_or_default() + &self.world.containerd.log()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            eprintln!("{error:#}");
        }
    }
}
