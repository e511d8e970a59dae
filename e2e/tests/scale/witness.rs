//! Who sees every state of every `NodeShim`, one after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::Api as Objects;
use kube::core::{ApiResource, GroupVersionKind, Object};
use kube::runtime::watcher::{self, Event};
use serde::{Deserialize, Serialize};
use wherry_e2e::cluster::api::Api;

/// Of an order, what is counted.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Spec {
    node: String,
    action: String,
    attempt: u32,
    revision: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    observed: Option<Observed>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Observed {
    attempt: u32,
}

type NodeShim = Object<Spec, Status>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Nodes that are being changed.
    disrupted: BTreeSet<String>,
    most: usize,
    /// Nodes that were ordered to have a revision.
    ordered: HashMap<String, BTreeSet<String>>,
    attempts: HashMap<String, u32>,
    backwards: Vec<String>,
}

impl Witness {
    pub(crate) fn start(api: &Api) -> Witness {
        let witness = Witness::default();
        let (state, client) = (witness.clone(), api.client());
        let kind =
            ApiResource::from_gvk(&GroupVersionKind::gvk("wherry.dev", "v1alpha1", "NodeShim"));
        let objects: Objects<NodeShim> = Objects::all_with(client, &kind);
        api.spawn(async move {
            let mut events = std::pin::pin!(watcher::watcher(objects, watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => state.see(&object),
                    Ok(Event::Delete(object)) => state.forget(&object),
                    Ok(Event::Init | Event::InitDone) => {}
                    Err(error) => eprintln!("the witness: {error}"),
                }
            }
        });
        witness
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().expect("no holder panics")
    }

    fn see(&self, object: &NodeShim) {
        let spec = &object.spec;
        let observed = object.status.as_ref().and_then(|it| it.observed.as_ref());
        let busy = spec.attempt > observed.map_or(0, |seen| seen.attempt);
        let disrupts = ["Install", "Remove"].contains(&spec.action.as_str());
        let mut seen = self.seen();
        if busy && disrupts {
            seen.disrupted.insert(spec.node.clone());
        } else {
            seen.disrupted.remove(&spec.node);
        }
        seen.most = seen.most.max(seen.disrupted.len());
        if spec.action == "Install" {
            seen.ordered.entry(spec.revision.clone()).or_default().insert(spec.node.clone());
        }
        let before = seen.attempts.insert(spec.node.clone(), spec.attempt).unwrap_or(0);
        if before > spec.attempt {
            seen.backwards.push(format!("{}: {before}, then {}", spec.node, spec.attempt));
        }
    }

    fn forget(&self, object: &NodeShim) {
        let mut seen = self.seen();
        seen.disrupted.remove(&object.spec.node);
        seen.attempts.remove(&object.spec.node);
    }

    /// How many nodes were being changed at once, at most.
    pub(crate) fn most_disrupted(&self) -> usize {
        self.seen().most
    }

    /// How many nodes were ordered to have this revision.
    pub(crate) fn ordered(&self, revision: &str) -> usize {
        self.seen().ordered.get(revision).map_or(0, BTreeSet::len)
    }

    pub(crate) fn backwards(&self) -> Vec<String> {
        self.seen().backwards.clone()
    }
}
