//! A cluster whose nodes have never heard of Wherry, and its administrator, who has Helm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::cluster::files::FLEET;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::command::until;
use wherry_e2e::helm::{self, Helm, NAMESPACE, PUBLISHED};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::Ground;
use wherry_e2e::tree::Tree;

use crate::release::{Release, Releases};

pub(crate) const SOON: Duration = Duration::from_secs(120);

const OPERATOR: &str = "deployment/wherry-operator";
const CONTROLLER: &str = "app.kubernetes.io/component=controller";
/// As the chart has it.
pub(crate) const OPERATORS: u64 = 2;

/// What of a node lasts, or is systemd's, and may be ours.
const PLACES: [&str; 7] = [
    "/etc",
    "/opt",
    "/usr/local",
    "/usr/lib/systemd",
    "/var/lib/wherry",
    "/run/systemd/transient",
    "/run/wherry",
];

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    pub(crate) releases: Releases,
    /// Each node as it was before anything.
    before: BTreeMap<&'static str, Tree>,
    /// What the cluster had by then.
    objects: BTreeSet<String>,
}

impl Fleet {
    pub(crate) fn new() -> Result<Fleet> {
        let cluster = Cluster::of(&FLEET)?;
        let releases = Releases::publish(&cluster)?;
        let before = cluster.nodes.iter().map(|node| Ok((node.name(), tree(node)?)));
        let before = before.collect::<Result<_>>()?;
        let objects = objects(&cluster)?;
        Ok(Fleet { cluster, releases, before, objects })
    }

    /// As many operators as this run, and no other.
    pub(crate) fn scale(&self, count: u64) -> Result<()> {
        let to = format!("--replicas={count}");
        self.cluster.ask(&["scale", OPERATOR, &to, "-n", NAMESPACE])?;
        let ready = ["get", OPERATOR, "-n", NAMESPACE, "-o", "jsonpath={.status.readyReplicas}"];
        let pods = ["get", "pods", "-n", NAMESPACE, "-l", CONTROLLER, "-o", "name"];
        let wanted = if count == 0 { String::new() } else { count.to_string() };
        let so = || {
            self.cluster.ask(&ready).is_ok_and(|told| told == wanted)
                && self.cluster.ask(&pods).is_ok_and(|all| all.lines().count() as u64 == count)
        };
        ensure!(until(SOON, so), "there are not {count} operators: {}", self.told());
        Ok(())
    }

    /// `helm install`, or upgrade: the chart of a release from the registry with its values, and with these fields of
    /// the shim's spec as somebody's own file has them.
    pub(crate) fn bring(&self, words: &[&str], release: &Release, fields: Value) -> Result<String> {
        let own = self.cluster.place.path("own.json");
        fs::write(&own, json!({ "shim": { "spec": fields } }).to_string())?;
        let (own, [flag, certificate]) = (own.display().to_string(), helm::trust(&self.cluster));
        let mut all = vec!["--version", release.version, &*flag, &*certificate];
        all.extend(["--values", &release.values, "--values", &own]);
        all.extend(&words[1..]);
        Helm::V4.bring(&self.cluster, words[0], PUBLISHED, &all)
    }

    pub(crate) fn upgrade(&self, release: &Release, fields: Value) -> Result<String> {
        self.bring(&["upgrade", "--install", "--create-namespace"], release, fields)
    }

    /// To the revision before this one.
    pub(crate) fn roll_back(&self) -> Result<()> {
        let words = ["rollback", helm::NAME, "--wait", "--timeout", "3m"];
        Helm::V4.on(&self.cluster, &words)?.ok()?;
        Ok(())
    }

    /// All nodes run this release, and are proved.
    pub(crate) fn installed(&self, release: &Release) -> Result<()> {
        // A case that failed may have left none.
        let there = ["get", OPERATOR, "-n", NAMESPACE, "--ignore-not-found", "-o", "name"];
        if !self.cluster.ask(&there)?.is_empty() {
            self.scale(OPERATORS)?;
        }
        self.upgrade(release, json!({}))?;
        self.complete("Complete")?;
        Ok(())
    }

    /// Waits until the rollout has come to this, with all nodes ready.
    pub(crate) fn complete(&self, phase: &'static str) -> Result<Value> {
        helm::rolled(&self.cluster, phase).with_context(|| self.told())
    }

    /// What is known of every node, for who has to find out what went wrong.
    pub(crate) fn told(&self) -> String {
        let ask =
            |words: &[&str]| self.cluster.ask(words).unwrap_or_else(|error| format!("{error:#}"));
        let node = "jsonpath={range .items[*]}{.spec.node}: {.spec.action} {.spec.attempt} {.status.phase} \
                    {.status.message} {.status.findings}{\"\\n\"}{end}";
        let pods = ask(&["get", "pods,jobs", "-n", NAMESPACE, "-o", "wide"]);
        let log = ask(&["logs", "-n", NAMESPACE, "-l", CONTROLLER, "--prefix", "--tail=20"]);
        format!("{}\n{pods}\n{log}", ask(&["get", "nodeshims", "-o", node]))
    }

    /// Nothing of ours is on any node.
    pub(crate) fn untouched(&self) -> Result<()> {
        for node in &self.cluster.nodes {
            let mut wrong = self.before[node.name()].difference(&tree(node)?);
            // Containers have units of their own there.
            wrong.retain(|it| !it.starts_with("/run/systemd/") || it.contains("wherry"));
            ensure!(wrong.is_empty(), "node {} is not as before: {wrong:?}", node.name());
        }
        Ok(())
    }

    /// Objects that were not there before.
    pub(crate) fn added(&self) -> Result<Vec<String>> {
        Ok(objects(&self.cluster)?.difference(&self.objects).cloned().collect())
    }

    pub(crate) fn node(&self, node: &Node) -> Result<Value> {
        self.cluster.api.get(&node.object())
    }

    /// The `NodeShim` of a node.
    pub(crate) fn object(&self, node: &Node) -> Result<Value> {
        let path = format!("jsonpath={{.items[?(@.spec.node=='{}')].metadata.name}}", node.name());
        let name = self.cluster.ask(&["get", "nodeshims", "-o", &path])?;
        Ok(json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "NodeShim", "metadata": { "name": name },
        }))
    }

    /// How far each node is.
    pub(crate) fn phases(&self) -> Result<String> {
        self.cluster.ask(&["get", "nodeshims", "-o", "jsonpath={.items[*].status.phase}"])
    }

    /// containerd's process on each node.
    pub(crate) fn daemons(&self) -> Result<Vec<String>> {
        let word = ["systemctl", "show", "-P", "MainPID", "containerd"];
        self.cluster.nodes.iter().map(|node| node.ask(&word)).collect()
    }

    /// The folder of the programs in use on each node.
    pub(crate) fn in_use(&self) -> Result<Vec<String>> {
        let word = ["readlink", "/opt/wherry/current"];
        self.cluster.nodes.iter().map(|node| node.ask(&word)).collect()
    }
}

pub(crate) fn tree(node: &Node) -> Result<Tree> {
    let mut tree = Tree::default();
    for place in PLACES {
        tree.add(&node.path(place), place)
            .with_context(|| format!("{place} of {}", node.name()))?;
    }
    Ok(tree)
}

/// The label of a proved node.
pub(crate) fn label(node: &Value) -> &Value {
    &node["metadata"]["labels"]["wherry.wherry.dev.node-restriction.kubernetes.io/shim"]
}

/// Every object that lasts, of every kind that the API server knows.
fn objects(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let kinds = cluster.ask(&["api-resources", "--verbs=list", "-o", "name"])?;
    let passing = |kind: &&str| !kind.starts_with("events") && !kind.ends_with(".metrics.k8s.io");
    let kinds: Vec<&str> = kinds.lines().filter(passing).collect();
    let each =
        "jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
    let all = cluster.ask(&["get", &kinds.join(","), "-A", "-o", each])?;
    Ok(all.lines().map(str::to_owned).collect())
}

impl Ground for Fleet {
    fn runtime(&self) -> Runtime {
        Runtime::Wherry
    }

    fn title(&self) -> String {
        self.cluster.title()
    }

    fn finish(&self) -> Result<()> {
        let words = ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s"];
        self.cluster.ask(&words)?;
        self.cluster.finish()
    }

    fn log(&self) -> String {
        format!("{}\n{}", self.told(), self.cluster.log())
    }
}
