//! A cluster whose nodes have never heard of Wherry, with the operator in it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::cluster::files::FLEET;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::Ground;
use wherry_e2e::tree::Tree;

use crate::release::Releases;

pub(crate) const SYSTEM: &str = "wherry-system";
/// A rollout over all nodes: each restarts its containerd once, and pulls an image.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(300);
pub(crate) const SOON: Duration = Duration::from_secs(120);

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
}

impl Fleet {
    pub(crate) fn new() -> Result<Fleet> {
        let cluster = Cluster::of(&FLEET)?;
        let releases = Releases::publish(&cluster)?;
        let before = cluster.nodes.iter().map(|node| Ok((node.name(), tree(node)?)));
        let before = before.collect::<Result<_>>()?;
        let fleet = Fleet { cluster, releases, before };
        fleet.furnish()?;
        Ok(fleet)
    }

    /// The operator, from its image.
    fn furnish(&self) -> Result<()> {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
        self.cluster.ask(&["apply", "-f", crds])?;
        self.cluster.ask(&["wait", "--for=condition=Established", "--timeout=60s", "-f", crds])?;
        let objects = operator(&self.releases.operator).to_string();
        self.cluster.kubectl(&["apply", "-f", "-"], &objects)?.ok()?;
        self.operator_is(1)
    }

    /// Waits until as many operators run as are wanted.
    pub(crate) fn operator_is(&self, count: u64) -> Result<()> {
        let object = named("apps/v1", "Deployment", "wherry-operator");
        self.cluster.api.until(&object, SOON, move |it| {
            let told = |key: &str| it["status"][key].as_u64().unwrap_or(0);
            it["status"]["observedGeneration"] == it["metadata"]["generation"]
                && (told("replicas"), told("readyReplicas")) == (count, count)
        })?;
        Ok(())
    }

    /// Has that many operators.
    pub(crate) fn scale(&self, count: u64) -> Result<()> {
        let object = named("apps/v1", "Deployment", "wherry-operator");
        self.cluster.api.change(&object, None, json!({ "spec": { "replicas": count } }))?;
        self.operator_is(count)?;
        let pods = ["get", "pods", "-n", SYSTEM, "-l", "app=wherry-operator", "-o", "name"];
        let gone = || count > 0 || self.cluster.ask(&pods).is_ok_and(|all| all.is_empty());
        ensure!(wherry_e2e::command::until(SOON, gone), "an operator does not end");
        Ok(())
    }

    /// The `WasmShim`, with these fields of its spec changed, as an administrator applies it.
    pub(crate) fn apply(&self, image: &str, fields: Value) -> Result<Value> {
        let mut shim = shim(image);
        for (key, value) in fields.as_object().into_iter().flatten() {
            shim["spec"][key] = value.clone();
        }
        let output = self.cluster.kubectl(&["apply", "-f", "-"], &shim.to_string())?;
        output.ok().context("the WasmShim")?;
        Ok(shim)
    }

    /// All nodes run this release, and are proved.
    pub(crate) fn installed(&self, image: &str) -> Result<Value> {
        // A case that failed may have left none.
        self.scale(1)?;
        let shim = self.apply(image, json!({}))?;
        self.complete(&shim, "Complete")?;
        Ok(shim)
    }

    /// Waits until the rollout has come to this, with all nodes ready.
    pub(crate) fn complete(&self, shim: &Value, phase: &'static str) -> Result<Value> {
        let wanted = format!("{0}/{0}", FLEET.len());
        let told = self.cluster.api.until(shim, ROLLOUT, move |it| {
            let status = &it["status"];
            status["phase"] == phase
                && status["nodes"]["summary"] == *wanted
                && status["observedGeneration"] == it["metadata"]["generation"]
        });
        told.with_context(|| self.told())
    }

    /// What is known of every node, for who has to find out what went wrong.
    pub(crate) fn told(&self) -> String {
        let ask =
            |words: &[&str]| self.cluster.ask(words).unwrap_or_else(|error| format!("{error:#}"));
        let node = "jsonpath={range .items[*]}{.spec.node}: {.spec.action} {.spec.attempt} {.status.phase} \
                    {.status.message} {.status.findings}{\"\\n\"}{end}";
        let pods = ask(&["get", "pods,jobs", "-n", SYSTEM, "-o", "wide"]);
        let log = ask(&["logs", "-n", SYSTEM, "deploy/wherry-operator", "--tail=20"]);
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

/// An object of the operator's namespace, by its name.
pub(crate) fn named(version: &str, kind: &str, name: &str) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": SYSTEM }})
}

fn shim(image: &str) -> Value {
    json!({
        "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": "wherry" },
        "spec": {
            "artifact": { "image": image },
            "handlers": [{ "name": "wherry", "runtimeClassName": "wherry" }],
            "rollout": {
                "waves": [
                    { "name": "canary", "nodes": 1, "soak": "2s" },
                    { "name": "rest", "nodes": "100%" },
                ],
                "maxUnavailable": 1,
            },
        },
    })
}

fn operator(image: &str) -> Value {
    let of_us = json!({ "app": "wherry-operator" });
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path }}});
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "wherry-operator", "namespace": SYSTEM } }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "wherry-operator" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "wherry-operator", "namespace": SYSTEM }] }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "wherry-operator", "namespace": SYSTEM },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": of_us },
                "template": { "metadata": { "labels": of_us }, "spec": {
                    "serviceAccountName": "wherry-operator",
                    "containers": [{
                        "name": "operator", "image": image,
                        "env": [field("POD_NAMESPACE", "metadata.namespace"), field("POD_NAME", "metadata.name")],
                        "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 }, "periodSeconds": 1 },
                        "securityContext": {
                            "readOnlyRootFilesystem": true, "runAsNonRoot": true,
                            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                }},
            } }),
    ];
    json!({ "apiVersion": "v1", "kind": "List", "items": objects })
}

impl Ground for Fleet {
    fn runtime(&self) -> Runtime {
        Runtime::Wherry
    }

    fn title(&self) -> String {
        self.cluster.title()
    }

    fn finish(&self) -> Result<()> {
        self.cluster.ask(&["delete", "namespace", SYSTEM, "--timeout=60s"])?;
        self.cluster.finish()
    }

    fn log(&self) -> String {
        format!("{}\n{}", self.told(), self.cluster.log())
    }
}
