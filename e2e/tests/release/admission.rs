//! What the API server says to what the chart has, and to what the chart forbids.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::command::until;
use wherry_e2e::helm::{Helm, NAMESPACE, repository};
use wherry_e2e::rig;
use wherry_e2e::suite::{Case, For};

use crate::world::{Release, SOON};

pub(crate) const CASES: &[Case<Release>] = &[
    ("every_render_is_taken_by_the_api_server", For::Wherry, taken),
    ("nobody_but_an_agent_touches_a_node_from_the_namespace", For::Wherry, touched),
];

/// Strictly: an unknown field is an error.
fn dry(release: &Release, text: &str) -> Result<wherry_e2e::command::Output> {
    let words = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    release.cluster.kubectl(&words, text)
}

fn taken(release: &Release) -> Result<()> {
    let definitions = rig::need(&rig::root().join("prometheus"), "e2e/rig/fetch.sh helm")?;
    let definitions = definitions.display().to_string();
    release.cluster.ask(&["apply", "--server-side", "-f", &definitions])?;
    let crds = repository().join("deploy/crds").display().to_string();
    release.cluster.ask(&["apply", "-f", &crds])?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f"];
    for folder in [&definitions, &crds] {
        release.cluster.ask(&[&wait[..], &[folder]].concat())?;
    }
    release.cluster.ask(&["create", "namespace", NAMESPACE]).ok();
    // A pod is asked whose it is.
    let account = ["serviceaccount", "wherry-check", "-n", NAMESPACE];
    release.cluster.ask(&[&["create"], &account[..]].concat())?;
    for name in ["default", "everything", "least"] {
        let file = repository().join(format!("e2e/tests/chart/golden/{name}.yaml"));
        let output = dry(release, &fs::read_to_string(file)?)?;
        output.ok().with_context(|| name.to_string())?;
    }
    let shim = fs::read_to_string(repository().join("deploy/operator/wasmshim.yaml"))?;
    dry(release, &shim)?.ok()?;
    release.cluster.ask(&[&["delete"], &account[..]].concat())?;
    // Helm takes over what it made itself, and nothing else.
    release.cluster.ask(&["delete", "-f", &definitions, "-f", &crds])?;
    Ok(())
}

/// An agent, as the operator would order one, but for the changes.
fn agent(changes: &[(&str, Value)]) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "try", "namespace": NAMESPACE, "labels": {} },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "c", "image": format!("registry.test/wherry/wherry-node@sha256:{}", "0".repeat(64)),
                "args": ["--host-root=/host", "--report=/dev/termination-log"], "securityContext": {},
            }],
        },
    });
    for (path, value) in changes {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        pod.pointer_mut(parent).expect("a parent")[key] = value.clone();
    }
    pod
}

fn job(pod: Value) -> Value {
    let mut spec = pod["spec"].clone();
    spec["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "try", "namespace": NAMESPACE },
        "spec": { "template": { "metadata": { "labels": pod["metadata"]["labels"] }, "spec": spec } },
    })
}

fn touched(release: &Release) -> Result<()> {
    release.bring(Helm::V4, "install", &["--set", "shim.enabled=false"])?;
    let node = json!([{ "name": "n", "hostPath": { "path": "/" } }]);
    let files = ("/spec/volumes", node.clone());
    let label = ("/metadata/labels", json!({ "app.kubernetes.io/name": "wherry-node" }));
    let capable =
        ("/spec/containers/0/securityContext", json!({ "capabilities": { "add": ["NET_ADMIN"] } }));
    let privileged = ("/spec/containers/0/securityContext", json!({ "privileged": true }));
    let foreign = ("/spec/containers/0/image", json!("registry.test/other:1"));
    let token = ("/spec/automountServiceAccountToken", json!(true));
    let secret = ("/spec/volumes", json!([{ "name": "n", "secret": { "secretName": "s" } }]));
    let evil = json!(["--host-root=/host", "--restart-with=/bin/sh /tmp/evil.sh", "apply"]);
    let told = ("/spec/containers/0/args", evil);
    let shell = ("/spec/containers/0/command", json!(["/bin/sh"]));
    let home = ("/spec/volumes", json!([{ "name": "n", "hostPath": { "path": "/root" } }]));
    let account = ("/spec/serviceAccountName", json!("wherry-operator"));
    let cases = [
        (agent(&[label.clone(), told]), "an agent is one container that is told"),
        (agent(&[label.clone(), shell]), "an agent is one container that is told"),
        (agent(&[label.clone(), home]), "an agent mounts nothing of a node but"),
        (agent(&[account]), "only its Deployment makes pods with the operator's account"),
        (agent(std::slice::from_ref(&files)), "only an agent of the operator mounts"),
        (agent(std::slice::from_ref(&capable)), "only an agent of the operator mounts"),
        (agent(std::slice::from_ref(&privileged)), "nothing in this namespace is privileged"),
        (agent(&[("/spec/hostPID", json!(true))]), "nothing in this namespace is privileged"),
        (
            agent(&[label.clone(), files.clone()]),
            "only the controller of Jobs makes pods of agents",
        ),
        (agent(&[label.clone(), foreign]), "an agent is of one of these images"),
        (agent(&[label.clone(), token]), "an agent has no token"),
        (agent(&[label.clone(), secret]), "an agent has no token"),
        (agent(&[label.clone(), capable]), "an agent has no capability but"),
        (job(agent(std::slice::from_ref(&files))), "only an agent of the operator mounts"),
        (job(agent(&[label, files])), "only the operator makes Jobs of agents"),
    ];
    for (object, sentence) in cases {
        let told = dry(release, &object.to_string())?;
        ensure!(told.code != 0 && told.stderr.contains(sentence), "{sentence}: {told}\n{object}");
    }
    for object in [agent(&[]), job(agent(&[]))] {
        dry(release, &object.to_string())?.ok()?;
    }
    agents(release)?;
    let words = ["exec", "-n", NAMESPACE, "deploy/wherry-operator", "--", "/wherry-operator"];
    let told = release.cluster.kubectl(&words, "")?;
    ensure!(told.code != 0 && told.stderr.contains("nobody joins an agent"), "{told}");
    Helm::V4.uninstall(&release.cluster, &[])?.ok()?;
    Ok(())
}

/// One that the operator orders is let in, is nobody else's afterwards, and ends though its image is of yesterday.
fn agents(release: &Release) -> Result<()> {
    let cluster = &release.cluster;
    let order = job(agent(&[
        ("/metadata/labels", json!({ "app.kubernetes.io/name": "wherry-node" })),
        ("/spec/volumes", json!([{ "name": "n", "hostPath": { "path": "/" } }])),
    ]));
    let operator = format!("--as=system:serviceaccount:{NAMESPACE}:wherry-operator");
    cluster.kubectl(&["create", &operator, "-f", "-"], &order.to_string())?.ok()?;
    let pods = ["get", "pods", "-n", NAMESPACE, "-l", "job-name=try", "-o", "name"];
    let there = || cluster.ask(&pods).is_ok_and(|all| !all.is_empty());
    ensure!(until(SOON, there), "the controller of Jobs makes no pod");
    let pod = cluster.ask(&pods)?;
    let image = ["set", "image", "-n", NAMESPACE, &pod, "c=registry.test/other:1"];
    let told = cluster.kubectl(&image, "")?;
    ensure!(told.code != 0 && told.stderr.contains("an agent is of one of these images"), "{told}");
    let other = "shim.enabled=false,images.node.repository=registry.test/moved/wherry-node";
    release.bring(Helm::V4, "upgrade", &["--set", other])?;
    cluster.ask(&["delete", "job", "try", "-n", NAMESPACE, "--wait"])?;
    let gone = || cluster.ask(&pods).is_ok_and(|all| all.is_empty());
    let yaml = || cluster.ask(&["get", &pod, "-n", NAMESPACE, "-o", "yaml"]);
    ensure!(until(SOON, gone), "it cannot end: {}", yaml()?);
    Ok(())
}
