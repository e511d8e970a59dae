//! What the operator does not do, and whom it tells why.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, NAMESPACE, SOON, image, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("a_runtime_class_of_others_is_told_of_and_left_alone", For::Wherry, foreign_class),
    ("a_runtime_class_that_stands_alone_is_taken_over", For::Wherry, lone_class),
    ("a_window_that_is_none_is_told_of_and_nobody_waits_for_it", For::Wherry, bad_window),
    ("a_node_without_room_is_told_of_and_tried_again", For::Wherry, booked),
    ("who_makes_pods_gets_neither_the_operators_token_nor_its_agents", For::Wherry, accounts),
    ("a_node_keeps_no_condition_of_what_has_left_it", For::Wherry, conditions),
];

fn class(name: &str, handler: &str) -> Value {
    json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": name },
        "handler": handler })
}

/// The message of a condition that has this status.
fn said(object: &Value, kind: &str, status: &str) -> Option<String> {
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|it| it["type"] == kind && it["status"] == status)?;
    Some(found["message"].as_str().unwrap_or_default().to_string())
}

fn foreign_class(fleet: &Fleet) -> Result<()> {
    fleet.nodes("foreign", 1)?;
    let there = fleet.api.create(&class("foreign", "runc"))?;
    let object = fleet.shim("foreign", &image("good"))?;
    let told = fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Refused")?;
    let sentence = said(&told, "Accepted", "False").unwrap_or_default();
    ensure!(sentence.contains("the RuntimeClass foreign is not taken"), "{told}");
    let words = [
        "get",
        "events.events.k8s.io",
        "-o",
        "json",
        "--field-selector=reason=RuntimeClassRefused",
    ];
    let events = fleet.kubectl(&words)?;
    ensure!(events.contains("the RuntimeClass foreign is not taken"), "{events}");
    ensure!(fleet.kubelet.orders("foreign-0").is_empty());
    ensure!(fleet.api.get(&there)?["handler"] == "runc");
    fleet.api.delete(&there)?;
    let done = fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Complete")?;
    ensure!(said(&done, "Accepted", "True").is_some(), "{done}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}

/// As `deploy/runtimeclass.yaml` has made one.
fn lone_class(fleet: &Fleet) -> Result<()> {
    fleet.nodes("lone", 1)?;
    let there = fleet.api.create(&class("lone", "wherry"))?;
    let object = fleet.shim("lone", &image("good"))?;
    fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Complete")?;
    let owner = &fleet.api.get(&there)?["metadata"]["ownerReferences"][0];
    ensure!(owner["name"] == "lone", "{owner}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}

/// The API server knows how a window looks, and not which zones there are.
fn bad_window(fleet: &Fleet) -> Result<()> {
    fleet.nodes("nowhere", 1)?;
    let object = fleet.shim("nowhere", &image("good"))?;
    fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Complete")?;
    let windows = json!([{ "cron": "0 2 * * *", "duration": "1h", "timeZone": "Mars/Olympus" }]);
    let patch = json!({ "spec": { "rollout": { "windows": windows } } }).to_string();
    fleet.kubectl(&["patch", "wasmshim", "nowhere", "--type=merge", "-p", &patch])?;
    let told = fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Refused")?;
    let sentence = said(&told, "Accepted", "False").unwrap_or_default();
    ensure!(sentence.contains("Mars/Olympus"), "{told}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}

fn booked(fleet: &Fleet) -> Result<()> {
    fleet.nodes("booked", 1)?;
    fleet.kubelet.booked("booked-0", true);
    let mut object = shim("booked", &image("good"));
    // Its Job is not to be tried anew by its controller for long.
    object["spec"]["rollout"]["progressDeadline"] = json!("5s");
    let object = fleet.api.create(&object)?;
    let told = fleet.api.until(&object, SOON, |it| it["status"]["nodes"]["failed"] == 1)?;
    ensure!(told["status"]["rejected"].is_null(), "{told}");
    let all = fleet.kubectl(&["get", "nodeshims", "-l", "wherry.dev/shim=booked", "-o", "json"])?;
    let all: Value = serde_json::from_str(&all)?;
    let status = &all["items"][0]["status"];
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(message.contains("OutOfpods: Pod was rejected: too many pods"), "{status}");
    ensure!(status["observed"]["neverRan"] == true, "{status}");
    fleet.kubelet.booked("booked-0", false);
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON * 2)
}

fn accounts(fleet: &Fleet) -> Result<()> {
    let refused = |object: &Value, user: &str, sentence: &str| -> Result<()> {
        let file = fleet.place.path("refused.json");
        std::fs::write(&file, object.to_string())?;
        let file = file.display().to_string();
        let Err(error) =
            fleet.kubectl(&["create", "--dry-run=server", &format!("--as={user}"), "-f", &file])
        else {
            anyhow::bail!("taken: {object}");
        };
        let told = format!("{error:#}");
        ensure!(told.contains(sentence), "{sentence}: {told}");
        Ok(())
    };
    let own = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "try", "namespace": NAMESPACE },
        "spec": { "serviceAccountName": "wherry-operator", "containers": [{ "name": "c", "image": "i" }] },
    });
    fleet.kubectl(&[
        "create",
        "rolebinding",
        "maker",
        "-n",
        NAMESPACE,
        "--clusterrole=edit",
        "--user=maker",
    ])?;
    refused(&own, "maker", "only its Deployment makes pods with the operator's account")?;
    let job = |args: Value, path: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "try", "namespace": NAMESPACE },
            "spec": { "template": {
                "metadata": { "labels": { "app.kubernetes.io/name": "wherry-node" } },
                "spec": {
                    "restartPolicy": "Never", "automountServiceAccountToken": false,
                    "containers": [{ "name": "agent", "image": image("good"), "args": args }],
                    "volumes": [{ "name": "n", "hostPath": { "path": path } }],
                },
            }},
        })
    };
    let operator = format!("system:serviceaccount:{NAMESPACE}:wherry-operator");
    let evil = json!(["--host-root=/host", "--restart-with=/bin/sh /tmp/evil.sh", "apply"]);
    refused(
        &job(evil, "/"),
        &operator,
        "an agent is one container that is told --host-root=/host",
    )?;
    let args = json!(["--host-root=/host", "--report=/dev/termination-log"]);
    refused(&job(args, "/root"), &operator, "an agent mounts nothing of a node but /, /etc")
}

fn conditions(fleet: &Fleet) -> Result<()> {
    fleet.nodes("said", 1)?;
    let object = fleet.shim("said", &image("good"))?;
    fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Complete")?;
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "said-0" } });
    let about = |word: &'static str| {
        fleet.api.until(&node, SOON, move |it| {
            said(it, "wherry.dev/said", "True").is_some_and(|it| it.contains(word))
        })
    };
    let first = about("Install of said-")?;
    let patch = json!({ "spec": { "handlers": [{ "name": "wherry", "runtimeClassName": "said",
        "options": "two = 2" }] } });
    fleet.kubectl(&["patch", "wasmshim", "said", "--type=merge", "-p", &patch.to_string()])?;
    let revision = |it: &Value| said(it, "wherry.dev/said", "True");
    let before = revision(&first);
    // The label stays, and the message is of the revision that is there now.
    fleet.api.until(&node, SOON, move |it| revision(it).is_some_and(|now| Some(now) != before))?;
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)?;
    fleet.api.until(&node, SOON, |it| {
        let all = it["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().all(|it| it["type"] != "wherry.dev/said"))
    })?;
    Ok(())
}
