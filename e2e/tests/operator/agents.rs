//! Agents that never begin: nothing waits for them that need not, and everybody is told.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, SOON, image, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("a_job_that_the_api_server_refuses_is_told_of_and_mended", For::Wherry, refused),
    ("an_image_that_cannot_be_pulled_is_told_of_and_holds_nobody", For::Wherry, missing),
];

/// The status of the case's first `NodeShim`.
fn status(fleet: &Fleet, case: &str) -> Result<Value> {
    let label = format!("wherry.dev/shim={case}");
    let all = fleet.kubectl(&["get", "nodeshims", "-l", &label, "-o", "json"])?;
    let all: Value = serde_json::from_str(&all)?;
    Ok(all["items"][0]["status"].clone())
}

/// Waits until that status says so.
fn until_told(fleet: &Fleet, case: &str, field: &str, sentence: &str) -> Result<Value> {
    let says = |it: &Value| it[field].as_str().is_some_and(|it| it.contains(sentence));
    let told = || status(fleet, case).is_ok_and(|it| says(&it));
    ensure!(wherry_e2e::command::until(SOON, told), "{:?}", status(fleet, case)?);
    status(fleet, case)
}

/// What is wanted now is everywhere.
fn complete(shim: &Value) -> bool {
    shim["status"]["phase"] == "Complete"
        && shim["status"]["observedGeneration"] == shim["metadata"]["generation"]
}

fn events(fleet: &Fleet, reason: &str) -> Result<String> {
    let reason = format!("--field-selector=reason={reason}");
    fleet.kubectl(&["get", "events.events.k8s.io", "-o", "json", &reason])
}

fn take_image(fleet: &Fleet, case: &str, image: &str) -> Result<()> {
    let patch = json!({ "spec": { "artifact": { "image": image } } }).to_string();
    fleet.kubectl(&["patch", "wasmshim", case, "--type=merge", "-p", &patch]).map(drop)
}

/// Of a repository whose images are no agents here.
fn refused(fleet: &Fleet) -> Result<()> {
    fleet.nodes("refusing", 1)?;
    let foreign = format!("other.example/wherry-node@sha256:{}", "a".repeat(64));
    let object = fleet.shim("refusing", &foreign)?;
    let sentence = "the API server does not take the agent's Job";
    let told = until_told(fleet, "refusing", "message", sentence)?;
    ensure!(
        told["message"].as_str().is_some_and(|it| it.contains("an agent is of one of")),
        "{told}"
    );
    ensure!(told["observed"]["neverRan"] == true && told["phase"] == "Failed", "{told}");
    let events = events(fleet, "AgentNeverRan")?;
    ensure!(events.contains("node refusing-0: the API server does not take"), "{events}");
    let status = fleet.api.get(&object)?["status"].clone();
    ensure!(status["rejected"].is_null() && status["phase"] == "Progressing", "{status}");
    take_image(fleet, "refusing", &image("good"))?;
    fleet.api.until(&object, SOON, complete)?;
    // What is there is taken off by the agent that brought it, whatever was ordered since.
    take_image(fleet, "refusing", &foreign)?;
    until_told(fleet, "refusing", "message", sentence)?;
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)?;
    let orders = fleet.kubelet.orders("refusing-0");
    ensure!(orders == ["Apply", "Remove"], "{orders:?}");
    Ok(())
}

fn missing(fleet: &Fleet) -> Result<()> {
    fleet.nodes("missing", 1)?;
    let none = image("none");
    fleet.kubelet.miss(&none);
    let object = fleet.shim("missing", &none)?;
    let told = until_told(fleet, "missing", "waits", "ImagePullBackOff: Back-off pulling")?;
    ensure!(told["message"] == told["waits"], "{told}");
    let all = events(fleet, "AgentWaits")?;
    ensure!(all.contains("node missing-0: the agent does not begin: ImagePullBackOff"), "{all}");
    // Nobody waits for its deadline, which is in a quarter of an hour.
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)?;
    let mut object = shim("missing", &none);
    object["spec"]["rollout"]["progressDeadline"] = json!("5s");
    let object = fleet.api.create(&object)?;
    let ended = |it: &Value| it["status"]["nodes"]["failed"] == 1;
    let told = fleet.api.until(&object, SOON, ended).context("its time was over")?;
    ensure!(told["status"]["rejected"].is_null(), "{told}");
    let told = status(fleet, "missing")?;
    ensure!(told["observed"]["neverRan"] == true, "{told}");
    ensure!(told["message"].as_str().is_some_and(|it| it.contains("ImagePullBackOff")), "{told}");
    take_image(fleet, "missing", &image("good"))?;
    fleet.api.until(&object, SOON, complete)?;
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)?;
    let orders = fleet.kubelet.orders("missing-0");
    ensure!(orders == ["Apply", "Remove"], "{orders:?}");
    Ok(())
}
