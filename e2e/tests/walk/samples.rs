//! deploy/samples, each applied as it is and looked at.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, condition};
use wherry_e2e::image::Recipe;
use wherry_e2e::suite::{Case, For};
use wherry_e2e::{guests, recipes};

use crate::Walk;
use crate::document::{at_cluster, root};

pub(crate) const CASES: &[Case<Walk>] = &[
    ("the_sample_of_a_command_says_its_words", For::Wherry, command),
    ("the_sample_of_a_service_answers_and_lets_another_fetch_from_it", For::Wherry, service),
    ("the_sample_of_a_job_completes", For::Wherry, job),
    ("the_sample_of_a_sidecar_ends_with_its_program", For::Wherry, sidecar),
];

const LIMIT: Duration = Duration::from_secs(120);

fn kubectl(cluster: &Cluster, words: &str) -> Result<String> {
    at_cluster(cluster, &root(), &format!("kubectl {words}"))
}

/// The image that the samples' Dockerfile makes of a guest.
fn image(cluster: &Cluster, name: &str, guest: &str) -> Result<()> {
    let dockerfile = fs::read_to_string(root().join("deploy/samples/Dockerfile"))?;
    let lines: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let known = [
        "FROM scratch",
        "ARG PROGRAM",
        "COPY ${PROGRAM} /program.wasm",
        "ENTRYPOINT [\"/program.wasm\"]",
    ];
    ensure!(lines == known, "this knows how to do another Dockerfile: {lines:?}");
    let content = fs::read(guests::path(guest)?)?;
    let reference = format!("registry.example/{name}:1");
    cluster.push(&Recipe::program(&reference, "program.wasm", content))?;
    Ok(())
}

fn apply(walk: &Walk, sample: &str) -> Result<()> {
    walk.install()?;
    kubectl(&walk.cluster, &format!("apply -f deploy/samples/{sample}.yaml")).map(drop)
}

/// Deletes them, and waits until all pods are gone.
fn delete(walk: &Walk, samples: &[&str]) -> Result<()> {
    for sample in samples {
        kubectl(&walk.cluster, &format!("delete -f deploy/samples/{sample}.yaml"))?;
    }
    kubectl(&walk.cluster, "wait --for=delete pod --all --timeout=170s").map(drop)
}

fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name } })
}

fn succeeded(cluster: &Cluster, name: &str) -> Result<Value> {
    let over =
        |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let seen = cluster.api.until(&pod(name), LIMIT, over)?;
    ensure!(seen["status"]["phase"] == "Succeeded", "{}", seen["status"]);
    Ok(seen)
}

fn completed(cluster: &Cluster, name: &str) -> Result<Value> {
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name } });
    cluster.api.until(&job, LIMIT, |job| condition(job, "Complete") == "True")
}

fn command(walk: &Walk) -> Result<()> {
    image(&walk.cluster, "hello", "hello")?;
    apply(walk, "command")?;
    let seen = succeeded(&walk.cluster, "hello")?;
    // As the RuntimeClass of deploy/ has it.
    ensure!(seen["spec"]["overhead"]["memory"] == "2Mi", "{}", seen["spec"]);
    let said = kubectl(&walk.cluster, "logs hello")?;
    ensure!(said == "Hello, Kubernetes!", "{said}");
    delete(walk, &["command"])
}

fn service(walk: &Walk) -> Result<()> {
    let cluster = &walk.cluster;
    image(cluster, "http", "http-p2")?;
    image(cluster, "fetch", "fetch")?;
    apply(walk, "http")?;
    kubectl(cluster, "rollout status deployment/http --timeout=170s")?;
    let said = kubectl(cluster, "get --raw /api/v1/namespaces/default/services/http:http/proxy/")?;
    ensure!(said == "Hello, WASI!", "{said}");
    // The strictest level of Pod Security takes it.
    kubectl(cluster, "label namespace default pod-security.kubernetes.io/warn=restricted")?;
    let dry = "apply --dry-run=server -f deploy/samples/http.yaml 2>&1";
    let warned = kubectl(cluster, dry)?;
    kubectl(cluster, "label namespace default pod-security.kubernetes.io/warn-")?;
    ensure!(!warned.to_lowercase().contains("warning"), "{warned}");
    apply(walk, "egress")?;
    completed(cluster, "fetch")?;
    let said = kubectl(cluster, "logs job/fetch")?;
    ensure!(said == "200 Hello, WASI!", "{said}");
    let policy = kubectl(cluster, "get networkpolicy fetch -o jsonpath='{.spec.policyTypes}'")?;
    ensure!(policy == r#"["Ingress","Egress"]"#, "{policy}");
    delete(walk, &["egress", "http"])
}

fn job(walk: &Walk) -> Result<()> {
    image(&walk.cluster, "hello", "hello")?;
    apply(walk, "job")?;
    let seen = completed(&walk.cluster, "greet")?;
    ensure!(seen["status"]["succeeded"] == 3, "{}", seen["status"]);
    let said = kubectl(&walk.cluster, "logs -l job-name=greet --tail=-1")?;
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort();
    ensure!(lines == ["Hello, worker 0!", "Hello, worker 1!", "Hello, worker 2!"], "{said}");
    delete(walk, &["job"])
}

fn sidecar(walk: &Walk) -> Result<()> {
    let cluster = &walk.cluster;
    image(cluster, "files", "files")?;
    let mut busybox = recipes::native_toolbox()?;
    busybox.reference = "docker.io/library/busybox:1".into();
    cluster.push(&busybox)?;
    apply(walk, "sidecar")?;
    let seen = succeeded(cluster, "mixed")?;
    let reader = &seen["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(reader["exitCode"] == 0, "{reader}");
    let said = kubectl(cluster, "logs mixed -c reader")?;
    let mut lines = said.lines();
    ensure!(lines.next().is_some_and(|names| names.contains("now")), "{said}");
    let time = lines.next().with_context(|| said.clone())?;
    ensure!(time.contains(':') && time.len() > 20, "{said}");
    delete(walk, &["sidecar"])
}
