//! The Job of an order: one pod on one node, without a token.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Toleration;
use kube::ResourceExt as _;
use serde_json::json;
use wherry_operator_core::crd::{self, NODE_LABEL, NodeShim, RevisionSpec, SHIM_LABEL, WasmShim};
use wherry_report::{Command, ORDER_VARIABLE, Order, Outcome, Restart};

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
                "spec": pod(shim, &order(shim, node, revision, machine_id), &revision.image),
            },
        },
    });
    serde_json::from_value(job).expect("a Job")
}

fn pod(shim: &WasmShim, order: &Order, image: &str) -> serde_json::Value {
    let tolerations: &[Toleration] = &shim.spec.nodes.tolerations;
    json!({
        "nodeName": order.node, "restartPolicy": "Never", "tolerations": tolerations,
        "automountServiceAccountToken": false, "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "agent", "image": image,
            "args": ["--host-root=/host", "--report=/dev/termination-log"],
            "env": [{ "name": ORDER_VARIABLE, "value": order.text() }],
            "resources": {
                "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "256Mi" },
            },
            "securityContext": {
                "runAsUser": 0, "privileged": false, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "seccompProfile": { "type": "RuntimeDefault" },
                "capabilities": { "drop": ["ALL"], "add": [
                    // The node's programs are asked with the node's libraries.
                    "SYS_CHROOT",
                    // Files of containerd and of systemd belong to root and to nobody else.
                    "DAC_OVERRIDE", "FOWNER", "CHOWN",
                ]},
            },
            "volumeMounts": [{ "name": "host", "mountPath": "/host" }],
        }],
        "volumes": [{ "name": "host", "hostPath": { "path": "/" } }],
    })
}
