//! The Job of an order: one pod on one node, without a token.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Toleration;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use wherry_operator_core::crd::{self, NODE_LABEL, NodeShim, RevisionSpec, SHIM_LABEL, WasmShim};
use wherry_report::{Command, ORDER_VARIABLE, Order, Outcome, Restart, SMOKE_VARIABLE};

/// On a Job: the order that it does. Its name alone could be that of an older one.
pub(crate) const TRANSACTION: &str = "wherry.dev/transaction";

/// The same for whoever reads the same `NodeShim`.
pub(crate) fn transaction(node: &NodeShim) -> String {
    format!("{}-{}", node.uid().unwrap_or_default(), node.spec.attempt)
}

fn order(shim: &WasmShim, node: &NodeShim, revision: &RevisionSpec, machine_id: &str) -> Order {
    let command = match node.spec.action {
        crd::Action::Install => Command::Apply,
        crd::Action::Verify => Command::Verify,
        crd::Action::Remove => Command::Remove,
        crd::Action::Plan => Command::Plan,
    };
    let guard = std::time::Duration::from(shim.spec.restart.guard_timeout);
    Order {
        command,
        transaction: transaction(node),
        node: node.spec.node.clone(),
        machine_id: Some(machine_id.to_string()).filter(|id| !id.is_empty()),
        shim: node.spec.shim.clone(),
        revision: node.spec.revision.clone(),
        handlers: revision.handlers.clone(),
        restart: Restart {
            policy: shim.spec.restart.policy,
            guard_timeout_s: u32::try_from(guard.as_secs()).unwrap_or(u32::MAX),
        },
        when_in_use: shim.spec.uninstall.when_in_use,
    }
}

/// The Job, as it is to be made.
pub(crate) fn job(
    shim: &WasmShim,
    node: &NodeShim,
    revision: &RevisionSpec,
    machine_id: &str,
    pull_secrets: &[String],
) -> Job {
    let spec = &node.spec;
    let labels = json!({
        SHIM_LABEL: spec.shim, NODE_LABEL: crd::node_hash(&spec.node),
        "app.kubernetes.io/name": "wherry-node", "app.kubernetes.io/managed-by": "wherry-operator",
    });
    let deadline = std::time::Duration::from(shim.spec.rollout.progress_deadline).as_secs();
    // What the agent ends with of its own will is an answer. Whatever else ends it, as the restart of containerd
    // that it asked for, makes its Job try again: it finds its journal.
    let answers = [
        Outcome::Failed,
        Outcome::Reverted,
        Outcome::Drifted,
        Outcome::Unsupported,
        Outcome::InUse,
    ];
    let answers = answers.map(Outcome::exit_code);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": crd::job(&spec.shim, &spec.node, spec.attempt), "labels": labels,
            "annotations": { TRANSACTION: transaction(node) },
        },
        "spec": {
            "backoffLimit": 3, "activeDeadlineSeconds": deadline.max(1),
            "podFailurePolicy": { "rules": [{ "action": "FailJob", "onExitCodes": {
                "containerName": "agent", "operator": "In", "values": answers,
            }}]},
            "template": {
                "metadata": { "labels": labels },
                "spec": pod(shim, &order(shim, node, revision, machine_id), &revision.image, pull_secrets),
            },
        },
    });
    serde_json::from_value(job).expect("a Job")
}

/// Where the agent finds the node's file system.
const HOST: &str = "/host";
/// What of it the agent may write to: containerd's configuration is below these on every distribution that can be
/// changed, and our own folders are.
const WRITABLE: [&str; 4] = ["/etc", "/opt", "/run", "/var"];

fn pod(shim: &WasmShim, order: &Order, image: &str, pull_secrets: &[String]) -> Value {
    let secrets: Vec<Value> = pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let tolerations: &[Toleration] = &shim.spec.nodes.tolerations;
    let name = |path: &str| format!("host{}", path.trim_end_matches('/').replace('/', "-"));
    let volume = |path: &str| json!({ "name": name(path), "hostPath": { "path": path } });
    let mount = |path: &&str| json!({ "name": name(path), "mountPath": format!("{HOST}{path}") });
    // The rest is read, and its sockets are spoken to: nothing of it is written to, and nothing mounted on it, where
    // the kubelet knows how to say that (1.30) and the kernel to do it (5.12).
    let root = json!({
        "name": name("/"), "mountPath": HOST, "readOnly": true, "recursiveReadOnly": "IfPossible",
    });
    let mounts: Vec<Value> = [root].into_iter().chain(WRITABLE.iter().map(mount)).collect();
    let volumes: Vec<Value> = ["/"].iter().chain(&WRITABLE).map(|path| volume(path)).collect();
    json!({
        "nodeName": order.node, "restartPolicy": "Never", "tolerations": tolerations,
        "automountServiceAccountToken": false, "enableServiceLinks": false,
        "imagePullSecrets": secrets,
        "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "agent", "image": image,
            "args": [format!("--host-root={HOST}"), "--report=/dev/termination-log"],
            "env": [
                { "name": ORDER_VARIABLE, "value": order.text() },
                // The node has pulled this one, or there would be no agent.
                { "name": SMOKE_VARIABLE, "value": image },
            ],
            "resources": {
                // No scheduler placed it, and a kubelet turns away what asks for more than is left: on a node that
                // is booked to the last there would be no agent. A class of critical pods would have others evicted
                // in its place, and is not to be had in every namespace (quota). Zeros are written, as a request that
                // is missing becomes its limit.
                "requests": { "cpu": "0", "memory": "0" }, "limits": { "memory": "256Mi" },
            },
            "securityContext": {
                "runAsUser": 0, "privileged": false, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "seccompProfile": { "type": "RuntimeDefault" },
                "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
            },
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    })
}

/// What the agent may do that a container's root may not. Without the first it can do nothing; without the others it
/// can do all but one thing each (measured, SECURITY.md).
const CAPABILITIES: [&str; 3] = [
    // The node's file system becomes its own, so that the node's programs find their libraries, and names lead where
    // they lead on the node.
    "SYS_CHROOT",
    // A configuration that is somebody else's than root's is read and replaced.
    "DAC_OVERRIDE",
    // And stays theirs.
    "CHOWN",
];
