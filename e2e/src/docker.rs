//! A private Docker Engine on a private containerd, in a network namespace of its own, where its bridge harms
//! nobody.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
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
enum Engine {
    V28,
    V29,
}

impl Engine {
    fn chosen() -> Result<Engine> {
        match env::var("WHERRY_DOCKER").as_deref() {
            Ok("28") => Ok(Engine::V28),
            Ok("29") | Err(_) => Ok(Engine::V29),
            Ok(other) => bail!("WHERRY_DOCKER={other} is none of 28 and 29"),
        }
    }

    fn program(self) -> Result<PathBuf> {
        match self {
            Engine::V28 => {
                let path = rig::root().join("debian/sid/root/usr/sbin/dockerd");
                rig::need(&path, "e2e/rig/fetch.sh docker-28")
            }
            Engine::V29 => {
                rig::need(&rig::root().join("bin/dockerd29"), "e2e/rig/fetch.sh docker-29")
            }
        }
    }

    fn containerd(self) -> Version {
        match self {
            Engine::V28 => Version::V2_1,
            Engine::V29 => Version::V2_4,
        }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Docker {
    world: World,
    client: PathBuf,
    daemon: Mutex<Option<Child>>,
}

impl Docker {
    /// The engine and the runtime that the environment names.
    pub fn chosen() -> Result<Docker> {
        let engine = Engine::chosen()?;
        let runtime = Runtime::chosen()?;
        let ours = match runtime {
            Runtime::Wherry => vec![rig::programs()?],
            Runtime::Runc => Vec::new(),
        };
        let client = rig::need(&rig::root().join("bin/docker"), "e2e/rig/fetch.sh docker-29")?;
        let containerd = Containerd::start(engine.containerd(), runtime, Network::Own, &ours)?;
        let docker = Docker { world: World::new(containerd), client, daemon: Mutex::new(None) };
        docker.start(engine)?;
        Ok(docker)
    }

    fn start(&self, engine: Engine) -> Result<()> {
        let place = &self.world.containerd.place;
        // What Docker does to a network is not looked at here, so it needs no firewall.
        let config = json!({
            "features": { "containerd-snapshotter": true },
            "data-root": place.path("docker"),
            "exec-root": place.path("docker-exec"),
            "pidfile": place.path("docker.pid"),
            "hosts": [format!("unix://{}", self.socket().display())],
            "containerd": self.world.containerd.socket(),
            "containerd-namespace": place.tag,
            "containerd-plugins-namespace": format!("{}-plugins", place.tag),
            "cgroup-parent": format!("/{}", place.tag),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "iptables": false,
            "ip6tables": false,
            "ip-masq": false,
            "userland-proxy": false,
            "init-path": rig::root().join("bin/docker-init"),
            "log-level": "error",
        });
        let file = place.path("daemon.json");
        fs::write(&file, config.to_string())?;
        let log = File::create(place.path("docker.log"))?;
        let mut command = place.daemon(engine.program()?)?;
        command.arg("--config-file").arg(file).env("PATH", self.world.containerd.search_path());
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

    /// The image, known to Docker.
    pub fn load(&self, image: &Image) -> Result<String> {
        let tar = image.tar.display().to_string();
        let output = self.docker(&["load", "--quiet", "--input", &tar], "")?;
        output.ok().with_context(|| image.reference.clone())?;
        Ok(image.reference.clone())
    }

    pub fn runtime(&self) -> &'static str {
        self.world.containerd.runtime.name()
    }

    fn end(&self) -> Result<()> {
        let Some(mut child) = self.daemon.lock().expect("no holder panics").take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("dockerd")?;
        command::wait(&mut child, DAEMON).context("dockerd does not end")?;
        // Docker leaves the bind mount of its own network namespace.
        let folder = self.world.containerd.place.path("docker-exec/netns");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let mut umount = self.world.containerd.place.command("umount");
            command::run(umount.arg(entry.path()), b"", COMMAND)?;
        }
        Ok(())
    }
}

impl Ground for Docker {
    fn world(&self) -> &World {
        &self.world
    }

    fn close(&self) -> Result<()> {
        self.end()
    }

    fn log(&self) -> String {
        let docker = self.world.containerd.place.path("docker.log");
        fs::read_to_string(docker).unwrap_or_default() + &self.world.containerd.log()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}
