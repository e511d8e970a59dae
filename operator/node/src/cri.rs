//! containerd's CRI (k8s.io/cri-api, `runtime/v1/api.proto`), as much of it as a proof takes.

mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wherry_grpc::Connection;
use wherry_grpc::cri::{Status, StatusRequest};
use wherry_report::Handler;

use messages::{
    ContainerConfig, ContainerId, ContainerStatus, Containers, CreateContainer, Created,
    Everything, ImageSpec, LinuxContainer, LinuxPod, Metadata, Namespaces, Nothing, PodConfig,
    PodId, PodMetadata, PodSecurity, RunPod,
};

use crate::loaded::Loaded;

/// A daemon that has work answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// A first start compiles.
const PATIENCE_OF_CONTAINERS: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// `ContainerState`
const RUNNING: i32 = 1;
const EXITED: i32 = 2;
/// `NamespaceMode`
const OF_THE_NODE: i32 = 2;

/// What the smoke module ends with, and nothing else that may go wrong.
const SMOKE_CODE: i32 = 77;

/// What the daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) reason: String,
    /// The handlers that it has loaded, and what is behind each, where that is told.
    pub(crate) handlers: BTreeMap<String, Option<Loaded>>,
}

/// What a daemon is to have loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// Handlers of ours, as they were ordered.
    pub(crate) loaded: &'a [Handler],
    /// Those that are there, whoever has brought them.
    pub(crate) named: &'a [String],
    /// Those that are gone.
    pub(crate) forgotten: &'a [String],
}

impl State {
    /// What is not as wished.
    fn lacks(&self, wish: &Wish<'_>) -> Option<String> {
        if !self.ready {
            return Some(format!("CRI is not ready: {}", self.reason));
        }
        let ours = wish.loaded.iter().map(|handler| &handler.name);
        let missing = ours.chain(wish.named).find(|name| !self.handlers.contains_key(*name));
        if let Some(name) = missing {
            return Some(format!("containerd has not loaded the handler {name}"));
        }
        let others = wish.loaded.iter().find_map(|handler| {
            let loaded = self.handlers.get(&handler.name)?.as_ref()?;
            (!loaded.is(handler)).then(|| (&handler.name, loaded.instead_of(handler)))
        });
        if let Some((name, what)) = others {
            return Some(format!("containerd has loaded another handler {name}: {what}"));
        }
        let stale = wish.forgotten.iter().find(|name| self.handlers.contains_key(*name));
        stale.map(|name| format!("containerd still has the handler {name}"))
    }

    /// Whether any handler starts a program of ours.
    pub(crate) fn has_ours(&self) -> bool {
        self.handlers.values().flatten().any(Loaded::is_ours)
    }
}

#[derive(Debug)]
pub(crate) struct Cri {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

impl Cri {
    pub(crate) fn connect(address: &Path) -> Result<Cri> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(Connection::open(address, "k8s.io"))?;
        Ok(Cri { runtime, connection })
    }

    fn call<M: prost::Message + Default>(
        &mut self,
        method: &str,
        request: &impl prost::Message,
        patience: Duration,
    ) -> Result<M> {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let call = self.connection.unary(&path, request);
        let answer = self.runtime.block_on(async { tokio::time::timeout(patience, call).await });
        let answer = answer.with_context(|| {
            format!("CRI does not answer {method} within {} s", patience.as_secs())
        })?;
        answer.with_context(|| format!("CRI's {method}"))
    }

    pub(crate) fn state(&mut self) -> Result<State> {
        let told: Status = self.call("Status", &StatusRequest { verbose: true }, PATIENCE)?;
        let (ready, reason) = told.runtime();
        // Before 2.0 they are told only with everything else, as JSON.
        let config = told.config().unwrap_or("{}");
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        let named = config["containerd"]["runtimes"].as_object();
        let mut handlers: BTreeMap<String, Option<Loaded>> =
            told.handlers.into_iter().map(|handler| (handler.name, None)).collect();
        let sections = named.into_iter().flatten();
        handlers.extend(sections.map(|(name, it)| (name.clone(), Some(Loaded::of_cri(it)))));
        Ok(State { ready, reason, handlers })
    }

    /// Containers that run, by id.
    pub(crate) fn running(&mut self) -> Result<Vec<String>> {
        let told: Containers = self.call("ListContainers", &Everything {}, PATIENCE)?;
        let running = told.containers.into_iter().filter(|one| one.state == RUNNING);
        Ok(running.map(|one| one.id).collect())
    }

    /// How many of these run, or have ended by themselves meanwhile. One whose end nobody saw is lost
    /// (containerd, `internal/cri/server/restart.go`: exit code 255, reason `Unknown`).
    pub(crate) fn survived(&mut self, before: &[String]) -> Result<usize> {
        let now: BTreeSet<String> = self.running()?.into_iter().collect();
        let mut survived = 0;
        for id in before {
            let ended_by_itself = |cri: &mut Cri| -> Result<bool> {
                let told = cri.container(id)?;
                Ok(told.state == EXITED && told.reason != "Unknown")
            };
            // One that is no longer known was removed by somebody, after its end.
            survived += usize::from(now.contains(id) || ended_by_itself(self).unwrap_or(true));
        }
        Ok(survived)
    }

    fn container(&mut self, id: &str) -> Result<messages::ContainerState> {
        let request = ContainerId { id: id.to_owned(), verbose: false };
        let told: ContainerStatus = self.call("ContainerStatus", &request, PATIENCE)?;
        Ok(told.status.unwrap_or_default())
    }

    /// Runs a container of the smoke image under this handler, to its end, and says how long it took.
    ///
    /// The kubelet ends pods that it does not know, at its next look, which is every two seconds: one that was ended
    /// by somebody is tried again, and its code is compiled by then.
    pub(crate) fn smoke(&mut self, handler: &str, smoke: &Smoke) -> Result<Duration> {
        let mut last = None;
        for attempt in 0..5 {
            let began = Instant::now();
            match self.smoke_once(handler, smoke, attempt) {
                Ok(code) if code == SMOKE_CODE => return Ok(began.elapsed()),
                Ok(code) if code == 137 || code == 143 => {}
                Ok(code) => bail!("the container ended with {code}, not with {SMOKE_CODE}"),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("somebody killed the container five times")))
            .with_context(|| format!("no container runs under the handler {handler}"))
    }

    fn smoke_once(&mut self, handler: &str, smoke: &Smoke, attempt: u32) -> Result<i32> {
        let uid = format!("wherry-node-{}-{attempt}", std::process::id());
        let pod = PodConfig {
            metadata: Some(PodMetadata {
                name: "wherry-node-smoke".into(),
                uid,
                namespace: "wherry-system".into(),
                attempt,
            }),
            linux: Some(LinuxPod {
                cgroup_parent: smoke.cgroup_parent.clone(),
                // No network is asked for: the proof is not of the node's CNI.
                security: Some(PodSecurity {
                    namespaces: Some(Namespaces { network: OF_THE_NODE, pid: 1, ipc: 0 }),
                }),
            }),
            ..PodConfig::default()
        };
        let request = RunPod { config: Some(pod.clone()), handler: handler.to_owned() };
        let made: PodId = self.call("RunPodSandbox", &request, PATIENCE_OF_CONTAINERS)?;
        let ended = self.smoke_in(&made.id, pod, smoke);
        // Best effort: the kubelet does it too.
        drop(self.call::<Nothing>("StopPodSandbox", &made, PATIENCE));
        drop(self.call::<Nothing>("RemovePodSandbox", &made, PATIENCE));
        ended
    }

    fn smoke_in(&mut self, pod: &str, config: PodConfig, smoke: &Smoke) -> Result<i32> {
        let container = ContainerConfig {
            metadata: Some(Metadata { name: "smoke".into(), attempt: 0 }),
            image: Some(ImageSpec { image: smoke.image.clone() }),
            command: vec![smoke.program.clone()],
            linux: Some(LinuxContainer {}),
        };
        let request =
            CreateContainer { pod: pod.to_owned(), config: Some(container), sandbox: Some(config) };
        let made: Created = self.call("CreateContainer", &request, PATIENCE_OF_CONTAINERS)?;
        let start = ContainerId { id: made.id.clone(), verbose: false };
        self.call::<Nothing>("StartContainer", &start, PATIENCE_OF_CONTAINERS)?;
        let end = Instant::now() + PATIENCE_OF_CONTAINERS;
        loop {
            let told = self.container(&made.id)?;
            if told.state == EXITED {
                return Ok(told.exit_code);
            }
            if Instant::now() > end {
                bail!("the container does not end");
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The container of the proof: in an image that the node has, since it is this program's own.
#[derive(Clone, Debug)]
pub(crate) struct Smoke {
    pub(crate) image: String,
    pub(crate) program: String,
    pub(crate) cgroup_parent: String,
}

/// Waits until CRI is ready and has loaded what is wished.
pub(crate) fn wait(address: &Path, wish: &Wish<'_>, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    loop {
        let told = Cri::connect(address).and_then(|mut cri| cri.state());
        let why = match told {
            Ok(state) => match state.lacks(wish) {
                None => return Ok(()),
                Some(why) => why,
            },
            Err(error) => format!("CRI does not answer: {error:#}"),
        };
        if patience.is_zero() {
            bail!("{why}");
        }
        if Instant::now() > end {
            bail!("{why}, {} s after it was to", patience.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}
