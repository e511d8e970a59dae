//! The kubelet of nodes that are not there: it keeps them ready, and ends agents' pods with the reports of agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api as Objects, ResourceExt as _};
use serde_json::{Value, json};
use wherry_e2e::cluster::api::Api;

use crate::world::NAMESPACE;

const BEAT: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Default)]
pub(crate) struct Kubelet(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: BTreeSet<String>,
    /// What each node runs, by the orders that it did.
    installed: BTreeMap<String, String>,
    orders: BTreeMap<String, Vec<String>>,
    twice: BTreeSet<String>,
    busy: BTreeSet<String>,
    booked: BTreeSet<String>,
    /// Images that no registry has.
    missing: BTreeSet<String>,
}

impl Kubelet {
    pub(crate) fn start(api: &Api) -> Kubelet {
        let kubelet = Kubelet::default();
        let (state, client) = (kubelet.clone(), api.client());
        api.spawn(async move {
            loop {
                if let Err(error) = state.beat(&client).await {
                    eprintln!("the nodes: {error:#}");
                }
                tokio::time::sleep(BEAT).await;
            }
        });
        kubelet
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    pub(crate) fn keep(&self, node: &str) {
        self.state().nodes.insert(node.to_string());
    }

    /// The revision that a node runs.
    pub(crate) fn installed(&self, node: &str) -> Option<String> {
        self.state().installed.get(node).cloned()
    }

    /// What a node was ordered to do, in this order.
    pub(crate) fn orders(&self, node: &str) -> Vec<String> {
        self.state().orders.get(node).cloned().unwrap_or_default()
    }

    /// A container of the shim runs on the node, or does not any more.
    pub(crate) fn busy(&self, node: &str, busy: bool) {
        let mut state = self.state();
        if busy {
            state.busy.insert(node.to_string())
        } else {
            state.busy.remove(node)
        };
    }

    /// Nothing is left of the node for another pod, or something is again.
    pub(crate) fn booked(&self, node: &str, booked: bool) {
        let mut state = self.state();
        if booked {
            state.booked.insert(node.to_string())
        } else {
            state.booked.remove(node)
        };
    }

    /// No registry has this image.
    pub(crate) fn miss(&self, image: &str) {
        self.state().missing.insert(image.to_string());
    }

    pub(crate) fn twice(&self) -> BTreeSet<String> {
        self.state().twice.clone()
    }

    async fn beat(&self, client: &kube::Client) -> Result<()> {
        let nodes = self.state().nodes.clone();
        for node in &nodes {
            heartbeat(client, node).await.with_context(|| node.clone())?;
        }
        let pods: Objects<Pod> = Objects::namespaced(client.clone(), NAMESPACE);
        let all = pods.list(&ListParams::default()).await?;
        let mut at_work = BTreeSet::new();
        for pod in all {
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams::default().grace_period(0);
                pods.delete(&pod.name_any(), &now).await.ok();
                continue;
            }
            let ended = pod.status.as_ref().and_then(|it| it.phase.as_deref()) != Some("Pending");
            let Some(order) = order(&pod).filter(|_| !ended) else { continue };
            let node = order["node"].as_str().unwrap_or_default().to_string();
            if !at_work.insert(node.clone()) {
                self.state().twice.insert(node);
            }
            let status = match self.backs_off(&pod) {
                Some(status) => status,
                None => self.run(&order),
            };
            let patch = Patch::Merge(json!({ "status": status }));
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
        }
        Ok(())
    }

    /// The status of a pod whose image can't be pulled.
    fn backs_off(&self, pod: &Pod) -> Option<Value> {
        let image = pod.spec.as_ref()?.containers.first()?.image.clone()?;
        let message = format!("Back-off pulling image {image:?}: not found");
        self.state().missing.contains(&image).then(|| {
            json!({ "phase": "Pending", "containerStatuses": [{
                "name": "agent", "ready": false, "restartCount": 0, "image": image, "imageID": "",
                "state": { "waiting": { "reason": "ImagePullBackOff", "message": message } },
            }]})
        })
    }

    /// What an agent would do and say, as a pod's status.
    fn run(&self, order: &Value) -> Value {
        let word = |key: &str| order[key].as_str().unwrap_or_default().to_string();
        let (node, revision, command) = (word("node"), word("revision"), word("command"));
        let mut state = self.state();
        if state.booked.contains(&node) {
            return json!({ "phase": "Failed", "reason": "OutOfpods",
                "message": "Pod was rejected: too many pods" });
        }
        state.orders.entry(node.clone()).or_default().push(command.clone());
        let busy = state.busy.contains(&node);
        let bad = order["handlers"][0]["options"].as_str().is_some_and(|it| it.contains("bad"));
        let outcome = match command.as_str() {
            "Apply" if bad => "Reverted",
            "Apply" => "Ready",
            "Remove" if busy => "InUse",
            "Remove" => "Removed",
            "Verify" if state.installed.get(&node) == Some(&revision) => "Ready",
            "Verify" => "Drifted",
            _ => "Planned",
        };
        match outcome {
            "Ready" => drop(state.installed.insert(node.clone(), revision.clone())),
            "Removed" => drop(state.installed.remove(&node)),
            _ => {}
        }
        let installed = state.installed.get(&node).map(|revision| {
            json!({ "revision": revision, "binaryDigest": "d", "configDigest": "c",
                "configPath": "/etc/containerd/config.toml", "method": "DropIn" })
        });
        let container = json!({ "pod": format!("default/{node}"), "id": "c" });
        let in_use = if outcome == "InUse" { vec![container] } else { Vec::new() };
        let ran = outcome != "Drifted" && installed.is_some();
        let report = json!({
            "transaction": word("transaction"), "revision": revision, "outcome": outcome,
            "message": "said by a test", "node": { "machineId": node, "bootId": "1" },
            "installed": installed,
            "inUse": in_use,
            "proof": { "handlerListed": ran, "containerRan": ran, "containerMs": 5,
                "containersBefore": 0, "containersSurvived": 0 },
        });
        let good = ["Ready", "Removed", "Planned"].contains(&outcome);
        let code = if good { 0 } else { 3 };
        json!({
            "phase": if good { "Succeeded" } else { "Failed" },
            "containerStatuses": [{
                "name": "agent", "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
                "state": { "terminated": { "exitCode": code, "message": report.to_string(),
                    "startedAt": Timestamp::now(), "finishedAt": Timestamp::now() } },
            }],
        })
    }
}

fn order(pod: &Pod) -> Option<Value> {
    let containers = &pod.spec.as_ref()?.containers;
    let variable = containers.first()?.env.as_ref()?.iter().find(|it| it.name == "WHERRY_ORDER")?;
    serde_json::from_str(variable.value.as_ref()?).ok()
}

/// The controllers take a node for lost that does not renew its Lease.
async fn heartbeat(client: &kube::Client, node: &str) -> Result<()> {
    let leases: Objects<Lease> = Objects::namespaced(client.clone(), "kube-node-lease");
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(Timestamp::now());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": node },
        "spec": { "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now },
    });
    let apply = PatchParams::apply("kubelet").force();
    leases.patch(node, &apply, &Patch::Apply(lease)).await?;
    let nodes: Objects<Node> = Objects::all(client.clone());
    let found = nodes.get(node).await?;
    let info = found.status.as_ref().and_then(|it| it.node_info.as_ref());
    if info.is_some_and(|info| !info.machine_id.is_empty()) {
        return Ok(());
    }
    let status = json!({ "status": {
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": Timestamp::now(), "lastTransitionTime": Timestamp::now() }],
        "nodeInfo": { "machineID": node, "bootID": "1", "containerRuntimeVersion": "containerd://2.1.9",
            "architecture": "amd64", "kernelVersion": "6", "kubeProxyVersion": "", "kubeletVersion": "v1.36.0",
            "operatingSystem": "linux", "osImage": "", "systemUUID": node },
    }});
    nodes.patch_status(node, &PatchParams::default(), &Patch::Strategic(status)).await?;
    Ok(())
}
