//! The control plane, kwok's nodes, two operators of which one leads, and the figures that are told in the end.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::process::Child;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use wherry_e2e::cluster::api::Api;
use wherry_e2e::cluster::control::{ADDRESS, Control};
use wherry_e2e::cluster::pki::Authority;
use wherry_e2e::command;
use wherry_e2e::operators::{self, Operators};
use wherry_e2e::place::{Network, Place};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::Ground;

use crate::audit::{self, Request};
use crate::nodes;
use crate::witness::Witness;

pub(crate) const SOON: Duration = Duration::from_secs(120);
pub(crate) const A: (&str, u16) = ("a", 8081);
pub(crate) const B: (&str, u16) = ("b", 8082);

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) api: Api,
    pub(crate) nodes: usize,
    pub(crate) witness: Witness,
    operators: Arc<Operators>,
    /// How often an operator ended by itself, as one does that cannot renew its Lease.
    ended: Arc<AtomicUsize>,
    kwok: Mutex<Child>,
    control: Mutex<Control>,
    figures: Mutex<Vec<(String, String)>>,
    /// The most memory that any of them had, in bytes.
    peak: Arc<AtomicU64>,
    /// The last to be dropped: everything above stands in it.
    pub(crate) place: Arc<Place>,
}

impl Fleet {
    pub(crate) fn new() -> Result<Fleet> {
        let nodes: usize = match env::var("WHERRY_NODES") {
            Ok(count) => count.parse().context("WHERRY_NODES")?,
            Err(_) => 1000,
        };
        let place = Arc::new(Place::new(Network::Own)?);
        let lines = format!("ip link set lo up; ip addr add {ADDRESS}/24 dev lo");
        command::run(place.command("sh").args(["-ec", &lines]), b"", SOON)?.ok()?;
        let authority = Authority::new(&place.path("pki"))?;
        // Nodes are alive although nobody renews a Lease for each of them every ten seconds, which would be most of
        // what this machine does.
        let words = ["--controllers=*,-node-lifecycle-controller"];
        let control = Mutex::new(Control::start_with(&place, &authority, &words)?);
        let network = File::open(format!("/proc/{}/ns/net", place.pid()))?;
        let api = Api::new(&place.path("admin.conf"), network)?;
        operators::furnish(&place, &api)?;
        let kwok = Mutex::new(nodes::kwok(&place)?);
        nodes::make(&api, nodes)?;
        for index in 0..nodes {
            let node = json!({ "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": nodes::name(index) } });
            api.until(&node, SOON, |node| node["status"]["nodeInfo"]["machineID"] != "")?;
        }
        let fleet = Fleet {
            witness: Witness::start(&api),
            operators: Arc::default(),
            ended: Arc::default(),
            figures: Mutex::default(),
            peak: Arc::default(),
            api,
            nodes,
            kwok,
            control,
            place,
        };
        fleet.start(A)?;
        fleet.start(B)?;
        fleet.tend();
        Ok(fleet)
    }

    /// Somebody starts operators again, until all of this is over.
    fn tend(&self) {
        let (operators, place) = (Arc::downgrade(&self.operators), Arc::downgrade(&self.place));
        let (ended, peak) = (self.ended.clone(), self.peak.clone());
        thread::spawn(move || {
            while let (Some(operators), Some(place)) = (operators.upgrade(), place.upgrade()) {
                match operators.tend(&place) {
                    Ok(count) => drop(ended.fetch_add(count, Ordering::Relaxed)),
                    Err(error) => eprintln!("an operator was not started again: {error:#}"),
                }
                for (name, _) in [A, B] {
                    // Nobody's, while nobody has this name.
                    peak.fetch_max(operators.peak_memory(name).unwrap_or(0), Ordering::Relaxed);
                }
                drop((operators, place));
                thread::sleep(Duration::from_secs(1));
            }
        });
    }

    pub(crate) fn start(&self, (name, port): (&'static str, u16)) -> Result<()> {
        self.operators.start(&self.place, name, port)
    }

    pub(crate) fn kill(&self, (name, _): (&str, u16)) -> Result<()> {
        self.operators.kill(name)
    }

    pub(crate) fn leader(&self) -> Result<(&'static str, u16)> {
        Ok(if operators::leader(&self.api)? == A.0 { A } else { B })
    }

    /// What the operators asked since then.
    pub(crate) fn since(&self, then: Timestamp) -> Result<Vec<Request>> {
        let mut all = audit::requests(&self.place)?;
        all.retain(|request| request.at >= then);
        Ok(all)
    }

    /// A line of the table that is told in the end.
    pub(crate) fn figure(&self, what: &str, value: String) {
        println!("  {what}: {value}");
        self.figures.lock().expect("no holder panics").push((what.into(), value));
    }

    /// For a whole rollout, on a machine that does other things too.
    pub(crate) fn long(&self) -> Duration {
        Duration::from_secs(600 + 2 * self.nodes as u64)
    }

    /// How many of its nodes may be changed at once.
    pub(crate) fn limit(&self) -> usize {
        self.nodes / 10
    }
}

/// The spec's revision is told apart by its options, which also say where it fails.
pub(crate) fn shim(options: &str) -> Value {
    json!({
        "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": "scale" },
        "spec": {
            // Of the repository whose images may be agents here: deploy/operator/values.yaml.
            "artifact": { "image": format!("registry.example/wherry-node@sha256:{}", "a".repeat(64)) },
            "handlers": [{ "name": "wherry", "runtimeClassName": "wherry", "options": options }],
            "rollout": {
                "waves": [
                    { "name": "canary", "nodes": 1, "soak": "1s" },
                    { "name": "early", "nodes": "5%", "soak": "1s" },
                    { "name": "rest", "nodes": "100%" },
                ],
                "maxUnavailable": "10%", "maxParallel": 100,
                "spread": { "topologyKey": "topology.kubernetes.io/zone", "maxPerDomain": "10%" },
            },
        },
    })
}

impl Ground for Fleet {
    fn runtime(&self) -> Runtime {
        Runtime::Wherry
    }

    fn title(&self) -> String {
        format!("a real control plane, {} nodes that kwok plays", self.nodes)
    }

    /// What must have held all the time.
    fn finish(&self) -> Result<()> {
        self.operators.stop()?;
        let requests = audit::requests(&self.place)?;
        let kwok = &mut *self.kwok.lock().expect("no holder panics");
        kwok.kill()?;
        kwok.wait()?;
        self.control.lock().expect("no holder panics").stop()?;
        let peak = self.peak.load(Ordering::Relaxed) >> 20;
        self.figure("operator's memory, at most", format!("{peak} MiB"));
        let ended = self.ended.load(Ordering::Relaxed);
        self.figure("operators that ended by themselves", ended.to_string());
        let most = self.witness.most_disrupted();
        self.figure(
            "nodes changed at once, at most",
            format!("{most} of {} allowed", self.limit()),
        );
        let kinds: BTreeMap<_, _> = audit::by_kind(&requests);
        println!("requests by kind: {kinds:?}");
        for (what, value) in self.figures.lock().expect("no holder panics").iter() {
            println!("| {what} | {value} |");
        }
        ensure!(peak < 256, "the operator had {peak} MiB");
        ensure!(most <= self.limit(), "{most} nodes at once, not {}", self.limit());
        let twice = audit::made_twice(&requests);
        ensure!(twice.is_empty(), "Jobs that were made twice: {twice:?}");
        let backwards = self.witness.backwards();
        ensure!(backwards.is_empty(), "orders that went back: {backwards:?}");
        Ok(())
    }

    fn log(&self) -> String {
        let told = |name: &str| fs::read_to_string(self.place.path(name)).unwrap_or_default();
        ["kwok.log", A.0, B.0].map(|name| format!("-- {name}\n{}", told(name))).concat()
    }
}
