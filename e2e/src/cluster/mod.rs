//! A real Kubernetes on one machine: a control plane of processes in a network of its own, and two nodes, which are
//! machines of systemd-nspawn with systemd, containerd and kubelet. Everything stands in one [`Place`] and ends
//! with it.
//!
//! ```text
//!  network namespace of the place
//!  ┌────────────────────────────────────────────────────────────────┐
//!  │ 10.90.0.1  etcd · API server · controllers · scheduler · registry │
//!  │     │ bridge "nodes"                                            │
//!  │     ├── 10.90.0.11 "old": containerd 1.7, cgroupfs, pods 10.91.11.0/24
//!  │     └── 10.90.0.12 "new": containerd 2.4, systemd,  pods 10.91.12.0/24
//!  └────────────────────────────────────────────────────────────────┘
//! ```

pub mod api;
pub mod audit;
pub mod control;
pub mod files;
pub mod leaks;
pub mod node;
pub mod pki;
pub mod registry;

use std::fs::File;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use wherry_images::Built;

use self::api::Api;
use self::control::{ADDRESS, Control};
use self::files::{About, FLEET, NODES};
use self::node::Node;
use self::pki::Authority;
use self::registry::Registry;
use crate::command::{self, Output};
use crate::image::{Form, Recipe};
use crate::place::{Network, Place};
use crate::recipes;
use crate::rig::Runtime;
use crate::suite::Ground;

const COMMAND: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub struct Cluster {
    pub api: Api,
    pub nodes: Vec<Node>,
    pub runtime: Runtime,
    registry: Mutex<Registry>,
    control: Mutex<Control>,
    /// The last to be dropped: everything above stands in it.
    pub place: Place,
}

impl Cluster {
    /// The runtime that the environment names is the one of all pods.
    pub fn chosen() -> Result<Cluster> {
        let cluster = Cluster::of(&NODES)?;
        cluster.api.create(&json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
            "metadata": { "name": "wherry" }, "handler": "wherry",
        }))?;
        Ok(cluster)
    }

    /// With these nodes, and nothing that names Wherry to Kubernetes.
    pub fn of(nodes: &[About]) -> Result<Cluster> {
        let place = Place::new(Network::Own)?;
        bridge(&place)?;
        let authority = Authority::new(&place.path("pki"))?;
        let registry = Registry::start(&place)?;
        let control = Control::start(&place, &authority)?;
        let network = File::open(format!("/proc/{}/ns/net", place.pid()))?;
        let api = Api::new(&place.path("admin.conf"), network)?;
        let start = |about: &About| Node::start(&place, &authority, *about);
        let nodes = nodes.iter().map(start).collect::<Result<Vec<_>>>()?;
        let (registry, control) = (Mutex::new(registry), Mutex::new(control));
        let runtime = Runtime::chosen()?;
        let cluster = Cluster { api, nodes, runtime, registry, control, place };
        cluster.furnish()?;
        Ok(cluster)
    }

    /// What pods rely on, and the nodes' word that they are ready.
    fn furnish(&self) -> Result<()> {
        self.push(&pause()?)?;
        for node in &self.nodes {
            let ready = self.api.until(&node.object(), READY, ready_for_pods);
            ready
                .with_context(|| format!("node {} is not ready:\n{}", node.name(), node.log(60)))?;
        }
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" }});
        self.api.until(&account, READY, |_| true)?;
        Ok(())
    }

    /// An image, there to be pulled.
    pub fn push(&self, recipe: &Recipe) -> Result<String> {
        self.registry.lock().expect("no holder panics").push(recipe)
    }

    /// Images of a release, there to be pulled.
    pub fn publish(&self, images: &Built) -> Result<()> {
        self.registry.lock().expect("no holder panics").publish(images)
    }

    /// A guest's ordinary image.
    pub fn guest(&self, name: &str) -> Result<String> {
        self.push(&recipes::guest(self.runtime, name, Form::Linux)?)
    }

    /// The image of a shell and its tools.
    pub fn toolbox(&self) -> Result<String> {
        self.push(&recipes::toolbox(self.runtime)?)
    }

    /// The image of a native shell and its tools, whatever the runtime.
    pub fn native(&self) -> Result<String> {
        self.push(&recipes::native_toolbox()?)
    }

    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name() == name).expect("one of the nodes")
    }

    /// kubectl, to be run.
    pub fn client(&self, words: &[&str]) -> Result<Command> {
        control::kubectl(&self.place, words)
    }

    /// Runs kubectl to its end.
    pub fn kubectl(&self, words: &[&str], input: &str) -> Result<Output> {
        command::run(&mut self.client(words)?, input.as_bytes(), COMMAND)
    }

    /// What kubectl says if all is well.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let output = self.kubectl(words, "")?.ok().with_context(|| words.join(" "))?;
        Ok(output.stdout.trim_end().to_string())
    }

    /// Does something in the network where nodes and pods have their addresses.
    pub fn in_network<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_network_of(self.place.pid(), what)
    }
}

/// Does something in the network namespace of a process.
pub fn in_network_of<T: Send>(pid: u32, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    thread::scope(|threads| {
        let there = threads.spawn(|| {
            setns(&network, CloneFlags::CLONE_NEWNET)?;
            what()
        });
        there.join().map_err(|_| anyhow!("a panic in another network"))?
    })
}

/// Its kubelet says so, and the controllers have heard it.
fn ready_for_pods(node: &Value) -> bool {
    is_ready(node) && node["spec"]["taints"].is_null()
}

/// Whether a node or a pod says that it is ready.
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready") == "True"
}

/// `status` of a condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|one| one["type"] == kind));
    found.and_then(|found| found["status"].as_str()).unwrap_or_default()
}

/// The bridge of the nodes, and by which of them pods are reached.
fn bridge(place: &Place) -> Result<()> {
    let mut lines = vec![
        "ip link set lo up".to_string(),
        "ip link add nodes type bridge".into(),
        format!("ip addr add {ADDRESS}/24 dev nodes"),
        "ip link set nodes up".into(),
    ];
    for node in &FLEET {
        lines.push(format!("ip route add {} via {}", node.pods(), node.address()));
    }
    let mut shell = place.command("sh");
    command::run(shell.args(["-ec", &lines.join("\n")]), b"", COMMAND)?.ok()?;
    Ok(())
}

/// The image of the sandbox: nothing of it is run by us, and runc's pods run it.
fn pause() -> Result<Recipe> {
    let mut recipe = recipes::busybox()?;
    recipe.reference = "wherry.test/pause:1".to_string();
    Ok(recipe.entrypoint(&["/bin/busybox", "sleep", "2147483647"]))
}

impl Ground for Cluster {
    fn runtime(&self) -> Runtime {
        self.runtime
    }

    fn title(&self) -> String {
        let node =
            |node: &Node| format!("{} and {:?}", node.about.containerd.name(), node.about.cgroups);
        let nodes: Vec<String> = self.nodes.iter().map(node).collect();
        format!("Kubernetes, nodes with containerd {}", nodes.join("; "))
    }

    fn finish(&self) -> Result<()> {
        leaks::after(self)
    }

    fn log(&self) -> String {
        self.nodes.iter().map(|node| node.log(40)).collect()
    }
}

impl Cluster {
    /// Ends the nodes, and then what they talk to.
    pub fn stop(&self) -> Result<()> {
        for node in &self.nodes {
            node.kill()?;
        }
        self.control.lock().expect("no holder panics").stop()?;
        self.registry.lock().expect("no holder panics").stop()
    }
}
