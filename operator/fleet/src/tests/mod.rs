//! A cluster in a few lines, and what is told of it.

mod change;
mod diff;
mod status;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use wherry_operator_core::crd::{
    NodeShim, ShimRevision, WasmShim, WasmShimSpec, node_shim, revision_of,
};

use crate::cluster::{Cluster, Machine};

pub(super) fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

pub(super) fn ago(minutes: i64) -> Time {
    Time(now() - jiff::SignedDuration::from_mins(minutes))
}

fn spec(number: u64, options: &str) -> WasmShimSpec {
    let image = format!("registry.example/wherry-node@sha256:{number:064x}");
    let handler = json!({ "name": "wherry", "runtimeClassName": "wherry", "options": options });
    let json = json!({ "artifact": { "image": image }, "handlers": [handler],
        "nodes": { "selector": { "matchLabels": { "wasm": "yes" } } } });
    serde_json::from_value(json).expect("a spec")
}

/// Revision 1 is what nodes had, 2 is what they are to get.
pub(super) fn fleet(status: Value) -> Cluster {
    let mut shim = WasmShim::new("wherry", spec(2, "cache = 1"));
    shim.metadata.generation = Some(2);
    let mut all = json!({ "observedGeneration": 2, "targetRevision": target() });
    all.as_object_mut().expect("it is").extend(status.as_object().expect("it is").clone());
    shim.status = Some(serde_json::from_value(all).expect("a status"));
    let revisions = [spec(1, ""), spec(2, "cache = 1")].map(|spec| {
        let (name, revision) = revision_of("wherry", &spec);
        ShimRevision::new(&name, revision)
    });
    Cluster {
        shims: vec![shim],
        revisions: revisions.into(),
        machines: Some(Vec::new()),
        ..Cluster::default()
    }
}

pub(super) fn old() -> String {
    revision_of("wherry", &spec(1, "")).0
}

pub(super) fn target() -> String {
    revision_of("wherry", &spec(2, "cache = 1")).0
}

impl Cluster {
    pub(super) fn machine(mut self, name: &str) -> Cluster {
        let labels = [("wasm".to_string(), "yes".to_string())].into();
        let machine = Machine { name: name.into(), labels, held: false };
        self.machines.get_or_insert_default().push(machine);
        self
    }

    pub(super) fn held(mut self) -> Cluster {
        self.machines.iter_mut().flatten().last().expect("a node").held = true;
        self
    }

    /// A node whose last order was number 1 and came to this, with `more` of its status.
    pub(super) fn node(
        mut self,
        name: &str,
        spec: Value,
        outcome: &str,
        revision: &str,
        more: Value,
    ) -> Cluster {
        let mut wanted = json!({ "shim": "wherry", "node": name, "nodeUid": "u", "attempt": 1,
            "action": "Install", "revision": revision });
        wanted.as_object_mut().expect("it is").extend(spec.as_object().expect("it is").clone());
        let action = wanted["action"].clone();
        let mut status = json!({
            "phase": outcome, "message": "said by its agent",
            "observed": { "attempt": 1, "action": action, "revision": revision, "outcome": outcome,
                "proved": outcome == "Ready", "at": ago(5), "nodeUid": "u", "bootId": "b",
                "machineId": "m", "runtimeVersion": "containerd://2.1.9" },
            "runtime": { "name": "containerd", "version": "2.1.9", "configVersion": 3,
                "distribution": "kubeadm" },
            "installed": { "revision": if outcome == "Ready" { revision.to_string() } else { old() },
                "binaryDigest": "d", "configDigest": "c", "configPath": "/etc/containerd/config.toml",
                "method": "DropIn" },
        });
        status.as_object_mut().expect("it is").extend(more.as_object().expect("it is").clone());
        let mut object = NodeShim::new(
            &node_shim("wherry", name),
            serde_json::from_value(wanted).expect("an order"),
        );
        object.status = Some(serde_json::from_value(status).expect("a status"));
        self.objects.push(object);
        self.machine(name)
    }

    pub(super) fn shim(&mut self) -> &mut WasmShim {
        &mut self.shims[0]
    }
}

pub(super) fn rolling_out() -> Cluster {
    let status = json!({
        "phase": "Progressing", "lastGoodRevision": old(),
        "wave": { "name": "early", "index": 1, "nodes": 3 },
        "nodes": { "desired": 6, "ready": 1, "progressing": 1, "failed": 1, "held": 1, "pending": 2 },
    });
    let finding = json!({ "findings": [
        { "code": "ForeignDropIn", "severity": "Info", "message": "99-nvidia.toml is there" },
        { "code": "KillModeNotProcess", "severity": "Blocker",
          "message": "a restart of containerd.service\nwould end every pod" },
    ]});
    fleet(status)
        .node("n1", json!({ "wave": "canary" }), "Ready", &target(), json!({}))
        .node("n2", json!({ "wave": "early" }), "Failed", &target(), finding)
        .node(
            "n3",
            json!({ "wave": "early", "attempt": 2, "revision": target() }),
            "Ready",
            &old(),
            json!({}),
        )
        .node("n4", json!({}), "Ready", &old(), json!({}))
        .machine("n5")
        .held()
        .machine("n10")
}
