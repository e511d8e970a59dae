//! Nodes that kwok plays, and what their agents answer.

use std::fs::{self, File};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api as Objects;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wherry_e2e::cluster::api::Api;
use wherry_e2e::place::Place;
use wherry_e2e::rig;

const AT_ONCE: usize = 16;

/// A node as large as real ones are: most of it are names of images.
const NODE: &str = r#"
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ or $.metadata.creationTimestamp $now | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
allocatable: { cpu: "32", memory: 256Gi, pods: "110" }
capacity: { cpu: "32", memory: 256Gi, pods: "110" }
images:
{{ range $index := until 50 }}
- names:
  - registry.example/a-team/with-a-long-name/service-{{ $index }}@sha256:{{ repeat 64 "0" }}
  - registry.example/a-team/with-a-long-name/service-{{ $index }}:v1.2.{{ $index }}
  sizeBytes: 123456789
{{ end }}
nodeInfo:
  architecture: amd64
  bootID: "1"
  containerRuntimeVersion: containerd://2.1.9
  kernelVersion: "6.12"
  kubeProxyVersion: v1.36.3
  kubeletVersion: v1.36.3
  machineID: {{ .metadata.name | Quote }}
  operatingSystem: linux
  osImage: Debian
  systemUUID: {{ .metadata.name | Quote }}
phase: Running
"#;

/// What an agent would do and say. A revision whose options name a digit fails on the nodes whose name ends with it.
const AGENT: &str = r#"
{{ $now := Now }}
{{ $order := dict }}
{{ range (index .spec.containers 0).env }}
{{ if eq .name "WHERRY_ORDER" }}{{ $order = .value | fromJson }}{{ end }}
{{ end }}
{{ $options := or (index $order.handlers 0).options "" }}
{{ $last := substr (int (sub (len $order.node) 1)) (len $order.node) $order.node }}
{{ $bad := and (eq $order.command "Apply") (contains (printf "fails-%s" $last) $options) }}
{{ $outcome := get (dict "Apply" "Ready" "Verify" "Ready" "Remove" "Removed" "Plan" "Planned") $order.command }}
{{ if $bad }}{{ $outcome = "Reverted" }}{{ end }}
{{ $report := dict "transaction" $order.transaction "revision" $order.revision "outcome" $outcome
  "message" "said by an agent that kwok plays"
  "node" (dict "machineId" $order.machineId "bootId" "1")
  "runtime" (dict "name" "containerd" "version" "2.1.9" "configVersion" 3 "unit" "containerd.service"
    "killMode" "process" "distribution" "kubeadm")
  "proof" (dict "handlerListed" true "containerRan" (not $bad) "containerMs" 412
    "containersBefore" 41 "containersSurvived" 41)
  "lastTransaction" (dict "id" $order.transaction "restarted" true "restartMs" 1830 "criDownMs" 940 "totalMs" 4210)
  "findings" (list (dict "code" "ForeignDropIn" "severity" "Info"
    "message" "99-nvidia.toml declares a runtime of its own, and stays as it is")) }}
{{ if eq $outcome "Ready" }}
{{ $installed := dict "revision" $order.revision "binaryDigest" (repeat 64 "a") "configDigest" (repeat 64 "b")
  "configPath" "/etc/containerd/conf.d/50-wherry.toml" "method" "DropIn" }}
{{ $report = set $report "installed" $installed }}
{{ end }}
phase: {{ if $bad }}Failed{{ else }}Succeeded{{ end }}
containerStatuses:
- name: agent
  image: {{ (index .spec.containers 0).image | Quote }}
  imageID: ""
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: {{ if $bad }}3{{ else }}0{{ end }}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
      message: {{ $report | toJson | Quote }}
"#;

fn stage(name: &str, kind: &str, when: Value, seconds: (u32, u32), next: Value) -> Value {
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": { "name": name },
        "spec": {
            "resourceRef": { "apiGroup": "v1", "kind": kind },
            "selector": { "matchExpressions": when },
            "delay": {
                "durationMilliseconds": 1000 * seconds.0,
                "jitterDurationMilliseconds": 1000 * seconds.1,
            },
            "next": next,
        },
    })
}

/// JSON documents are YAML documents.
fn config() -> String {
    let gone = json!({ "key": ".metadata.deletionTimestamp", "operator": "Exists" });
    let stays = json!({ "key": ".metadata.deletionTimestamp", "operator": "DoesNotExist" });
    let phase = |operator: &str, word: &str| json!({ "key": ".status.phase", "operator": operator, "values": [word] });
    let documents = [
        json!({
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration",
            "options": {
                "manageAllNodes": true, "nodeLeaseDurationSeconds": 0,
                "podPlayStageParallelism": 16, "nodePlayStageParallelism": 16,
            },
        }),
        stage(
            "node",
            "Node",
            json!([phase("NotIn", "Running")]),
            (0, 0),
            json!({ "statusTemplate": NODE }),
        ),
        // As a kubelet does where nothing changes: five minutes, not all together.
        stage(
            "heartbeat",
            "Node",
            json!([phase("In", "Running")]),
            (150, 450),
            json!({ "statusTemplate": NODE }),
        ),
        stage(
            "agent",
            "Pod",
            json!([stays, phase("In", "Pending")]),
            (1, 3),
            json!({ "statusTemplate": AGENT }),
        ),
        stage("gone", "Pod", json!([gone]), (0, 0), json!({ "delete": true })),
    ];
    documents.map(|document| document.to_string()).join("\n---\n")
}

pub(crate) fn kwok(place: &Place) -> Result<Child> {
    let program = rig::need(&rig::root().join("bin/kwok"), "e2e/rig/fetch.sh scale")?;
    let file = place.path("kwok.yaml");
    fs::write(&file, config())?;
    let log = File::create(place.path("kwok.log"))?;
    let mut command = place.daemon(program)?;
    command.arg("--config").arg(&file).arg("--kubeconfig").arg(place.path("admin.conf"));
    command.env("HOME", place.path("")).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("kwok")
}

/// Nodes of three zones, for everybody's WasmShim.
pub(crate) fn make(api: &Api, count: usize) -> Result<()> {
    let nodes: Objects<Node> = Objects::all(api.client());
    api.within(Duration::from_secs(600), async move {
        let mut at_work = JoinSet::new();
        for first in 0..AT_ONCE {
            let nodes = nodes.clone();
            at_work.spawn(async move {
                for index in (first..count).step_by(AT_ONCE) {
                    nodes
                        .create(&PostParams::default(), &serde_json::from_value(node(index))?)
                        .await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = at_work.join_next().await {
            done??;
        }
        Ok(())
    })
}

fn node(index: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
        "name": name(index),
        "labels": { "topology.kubernetes.io/zone": format!("zone-{}", index % 3) },
    }})
}

pub(crate) fn name(index: usize) -> String {
    format!("node-{index:05}")
}
