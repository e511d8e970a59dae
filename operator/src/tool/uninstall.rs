//! `uninstall`: takes a `WasmShim` off its nodes while there is an operator to do it, or says why not.
//!
//! ```text
//!  asked ── refused ─────────► exit 1, nothing is changed
//!    └───── deleted ── clean ► exit 0, and the operator may go
//!              └── too late ─► exit 1, the operator goes on; to be asked again
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use wherry_operator_core::crd::{Action, NodeShim, Pace, Phase, SHIM_LABEL, WasmShim};
use wherry_report::WhenInUse;

use super::{later, some};

const AGAIN: Duration = Duration::from_secs(2);
/// A cluster's pods are read in parts: of each, only a name is kept.
const PART: u32 = 500;

pub(super) async fn run(client: Client, name: &str, limit: Duration) -> Result<()> {
    let api: Api<WasmShim> = Api::all(client.clone());
    let all = match api.list(&ListParams::default()).await {
        Ok(all) => all.items,
        // Without definitions there is nothing of ours.
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let own = all.iter().find(|shim| shim.name_any() == name);
    let users = match own {
        Some(own) => users(&client, own).await?,
        None => Vec::new(),
    };
    if let Some(refusal) = refusal(name, &all, &users) {
        bail!("{refusal}");
    }
    let Some(own) = own else {
        println!("there is no WasmShim {name}: nothing is to be taken off nodes");
        return Ok(());
    };
    if own.metadata.deletion_timestamp.is_none() {
        api.delete(name, &DeleteParams::background()).await?;
    }
    gone(client, &api, name, limit).await
}

/// Pods that run by one of its handlers, whoever made the RuntimeClass that they name.
async fn users(client: &Client, shim: &WasmShim) -> Result<Vec<String>> {
    let classes: Api<RuntimeClass> = Api::all(client.clone());
    let classes = classes.list(&ListParams::default()).await?.items;
    let ours = |class: &&RuntimeClass| shim.spec.handlers.iter().any(|it| it.name == class.handler);
    let classes: BTreeSet<String> = classes.iter().filter(ours).map(|it| it.name_any()).collect();
    let (api, mut part) = (Api::<Pod>::all(client.clone()), ListParams::default().limit(PART));
    let mut users = Vec::new();
    loop {
        let pods = api.list(&part).await?;
        let next = pods.metadata.continue_.filter(|it| !it.is_empty());
        users.extend(pods.items.iter().filter(|pod| uses(pod, &classes)).map(told));
        match next {
            Some(next) => part.continue_token = Some(next),
            None => return Ok(users),
        }
    }
}

/// It is on a node and has not ended.
fn uses(pod: &Pod, classes: &BTreeSet<String>) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    let class = spec.runtime_class_name.as_ref();
    spec.node_name.is_some() && !ended && class.is_some_and(|it| classes.contains(it))
}

fn told(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    format!("{}/{} on {node}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Why it is not done, and how to go on.
fn refusal(name: &str, all: &[WasmShim], users: &[String]) -> Option<String> {
    let others: Vec<String> =
        all.iter().map(|it| it.name_any()).filter(|other| other != name).collect();
    if !others.is_empty() {
        return Some(format!(
            "refused: without the operator nobody takes these WasmShims off their nodes:\n{}\
             delete them and wait until they are gone: kubectl delete wasmshim {}\n{FORCE}",
            some(&others),
            others.join(" ")
        ));
    }
    let own = all.iter().find(|shim| shim.name_any() == name)?;
    if own.spec.rollout.pace == Pace::Paused {
        return Some(format!(
            "refused: WasmShim {name} is paused, so nothing would be taken off its nodes\n\
             kubectl patch wasmshim {name} --type=merge -p '{{\"spec\":{{\"rollout\":{{\"pace\":\"Running\"}}}}}}'\n{FORCE}"
        ));
    }
    let blocks = own.spec.uninstall.when_in_use == WhenInUse::Block;
    (blocks && !users.is_empty()).then(|| {
        format!(
            "refused: {} pods run by WasmShim {name}:\n{}\
             end them and uninstall again, or have them evicted:\n\
             kubectl patch wasmshim {name} --type=merge -p '{{\"spec\":{{\"uninstall\":{{\"whenInUse\":\"Drain\"}}}}}}'\n{FORCE}",
            users.len(),
            some(users)
        )
    })
}

const FORCE: &str = "or leave the nodes as they are, without an operator: helm uninstall --no-hooks; each WasmShim then has a \
    finalizer that nobody takes away, so before the definitions go:\n  \
    kubectl patch wasmshim NAME --type=merge -p '{\"metadata\":{\"finalizers\":null}}'";

/// Waits until the operator lets go of it, which it does when every node is clean.
async fn gone(client: Client, api: &Api<WasmShim>, name: &str, limit: Duration) -> Result<()> {
    let nodes: Api<NodeShim> = Api::all(client);
    let ours = ListParams::default().labels(&format!("{SHIM_LABEL}={name}"));
    let (begun, mut before, mut waits) = (Instant::now(), None, Vec::new());
    loop {
        // Asked first: what is left when it is gone is left for good.
        let shim = later(api.get_opt(name).await)?;
        let left = later(nodes.list(&ours).await)?.map(|list| list.items);
        if let (Some(None), Some(left)) = (&shim, &left) {
            println!("{}", done(name, left));
            return Ok(());
        }
        let left = left.unwrap_or_default();
        if let Some(status) = shim.flatten().and_then(|it| it.status) {
            waits = status.waits;
        }
        let told = format!("{} nodes are to be cleaned\n{}", left.len(), some(&waits));
        if before.as_ref() != Some(&told) {
            print!("{told}");
            before = Some(told);
        }
        if begun.elapsed() > limit {
            bail!("{}", too_late(name, &left, &waits, limit));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The operator let go of it. It does so as well where it could not reach a node for too long.
fn done(name: &str, left: &[NodeShim]) -> String {
    let clean = |node: &&NodeShim| {
        node.status.as_ref().is_some_and(|status| status.phase == Phase::Removed)
    };
    let left: Vec<String> =
        left.iter().filter(|it| !clean(it)).map(|it| it.spec.node.clone()).collect();
    if left.is_empty() {
        return "every node is clean".into();
    }
    format!(
        "every node is clean but these {}, which were not ready for too long: Wherry is still on them:\n{}\
         take it off when they are back (a WasmShim {name} that selects them, and is deleted), or set them up anew;\n\
         kubectl get nodeshims names them until their nodes are deleted",
        left.len(),
        some(&left)
    )
}

fn too_late(name: &str, left: &[NodeShim], waits: &[String], limit: Duration) -> String {
    let told = |node: &NodeShim| {
        let status = node.status.clone().unwrap_or_default();
        // What was found when it was installed is no news now.
        let removes = status.observed.as_ref().is_some_and(|it| it.action == Action::Remove);
        match removes {
            true => format!("{}: {:?} {}", node.spec.node, status.phase, status.message),
            false => format!("{}: its removal has not ended", node.spec.node),
        }
    };
    let left: Vec<String> = left.iter().map(told).collect();
    let why = match waits.is_empty() {
        true => String::new(),
        false => format!("they wait for this:\n{}", some(waits)),
    };
    format!(
        "WasmShim {name} is being taken off its nodes, and {} were not clean after {} s:\n{}{why}\
         the operator stays and goes on: uninstall again\n{FORCE}",
        left.len(),
        limit.as_secs(),
        some(&left)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shim(name: &str, spec: Value) -> WasmShim {
        let mut object = json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": name },
            "spec": { "artifact": { "image": "a" }, "handlers": [] },
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).expect("a WasmShim")
    }

    #[test]
    fn a_shim_in_use_is_refused_with_the_way_on() {
        let refused = |spec, others: &[&str], users: &[&str]| {
            let mut all = vec![shim("wherry", spec)];
            all.extend(others.iter().map(|name| shim(name, json!({}))));
            let users: Vec<String> = users.iter().map(|it| it.to_string()).collect();
            refusal("wherry", &all, &users)
        };
        assert_eq!(refused(json!({}), &[], &[]), None);
        let used = refused(json!({}), &[], &["default/web on n1"]).expect("a refusal");
        for part in ["1 pods run by WasmShim wherry", "default/web on n1", "Drain", "--no-hooks"] {
            assert!(used.contains(part), "{used}");
        }
        let drain = json!({ "uninstall": { "whenInUse": "Drain" } });
        assert_eq!(refused(drain, &[], &["default/web on n1"]), None);
        let paused = refused(json!({ "rollout": { "pace": "Paused" } }), &[], &[]);
        assert!(paused.is_some_and(|it| it.contains("is paused")));
        let others = refused(json!({}), &["edge", "gpu"], &[]);
        assert!(others.is_some_and(|it| it.contains("kubectl delete wasmshim edge gpu")));
        assert_eq!(refusal("wherry", &[], &[]), None);
    }

    fn node(name: &str, phase: &str, action: &str) -> NodeShim {
        let object = json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "NodeShim", "metadata": { "name": name },
            "spec": { "shim": "wherry", "node": name, "nodeUid": "u", "revision": "r",
                "action": "Remove", "attempt": 2 },
            "status": { "phase": phase, "message": "a container ran under wherry", "observed": {
                "attempt": 1, "action": action, "revision": "r", "outcome": phase, "proved": true,
                "at": "2026-11-23T00:00:00Z", "nodeUid": "u", "bootId": "b", "machineId": "m",
                "runtimeVersion": "v" } },
        });
        serde_json::from_value(object).expect("a NodeShim")
    }

    #[test]
    fn what_is_waited_for_is_said_and_nothing_of_the_installation() {
        let left = [node("n1", "Ready", "Install"), node("n2", "InUse", "Remove")];
        let waits = ["held by the annotation wherry.dev/hold: n1".to_string()];
        let told = too_late("wherry", &left, &waits, Duration::from_secs(60));
        for part in
            ["n1: its removal has not ended", "n2: InUse", "wherry.dev/hold: n1", "finalizers"]
        {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("n1: Working"), "{told}");
    }

    #[test]
    fn nodes_that_were_not_reached_are_named_when_all_others_are_clean() {
        assert_eq!(done("wherry", &[node("n1", "Removed", "Remove")]), "every node is clean");
        let told =
            done("wherry", &[node("n1", "Removed", "Remove"), node("n2", "Ready", "Install")]);
        assert!(told.contains("n2") && !told.contains("n1"), "{told}");
    }

    #[test]
    fn only_a_pod_that_is_on_a_node_and_has_not_ended_uses_the_shim() {
        let classes = BTreeSet::from(["wherry".to_string()]);
        let pod = |class: &str, node: Option<&str>, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "spec": { "runtimeClassName": class, "nodeName": node, "containers": [] },
                "status": { "phase": phase },
            }))
            .expect("a pod")
        };
        assert!(uses(&pod("wherry", Some("n1"), "Running"), &classes));
        assert!(uses(&pod("wherry", Some("n1"), "Pending"), &classes));
        assert!(!uses(&pod("wherry", None, "Pending"), &classes));
        assert!(!uses(&pod("wherry", Some("n1"), "Succeeded"), &classes));
        assert!(!uses(&pod("runc", Some("n1"), "Running"), &classes));
    }
}
