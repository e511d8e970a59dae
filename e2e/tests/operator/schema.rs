//! What the API server refuses, and the sentence it says.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, image, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("a_spec_that_cannot_be_honoured_is_refused", For::Wherry, refused),
    ("what_must_stay_cannot_be_changed", For::Wherry, immutable),
];

/// The API server's sentence about an object that it does not take.
fn refusal(fleet: &Fleet, object: &Value) -> Result<String> {
    match fleet.api.create(object) {
        Ok(_) => bail!("taken: {object}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn refused(fleet: &Fleet) -> Result<()> {
    let changed = |path: &str, value: Value| {
        let mut object = shim("refused", &image("good"));
        object["spec"]["rollout"]["windows"] = json!([]);
        object["spec"]["nodes"]["tolerations"] = json!([]);
        *object.pointer_mut(path).expect("a path of the object") = value;
        object
    };
    let handler = |name: &str| json!({ "name": name, "runtimeClassName": name });
    let expression = |operator: &str, values: Value| json!({ "matchExpressions": [{ "key": "pool", "operator": operator, "values": values }] });
    let window = |cron: &str| json!([{ "cron": cron, "duration": "1h" }]);
    let waves = |last: Value| json!([{ "name": "rest", "nodes": last }]);
    let cases = [
        ("/spec/artifact/image", json!("registry.test/wherry-node:latest"), "spec.artifact.image"),
        ("/spec/rollout/waves", waves(json!("50%")), "the last wave has 100% of the nodes"),
        ("/spec/rollout/waves", waves(json!(3)), "the last wave has 100% of the nodes"),
        ("/spec/rollout/maxUnavailable", json!("0%"), "maxUnavailable"),
        ("/spec/rollout/maxUnavailable", json!(0), "maxUnavailable"),
        ("/spec/handlers", json!([handler("a"), handler("a")]), "Duplicate value"),
        ("/spec/handlers", json!([]), "spec.handlers"),
        ("/spec/nodes/selector", expression("in", json!(["a"])), "Unsupported value: \"in\""),
        ("/spec/nodes/selector", expression("In", json!([])), "In and NotIn have values"),
        ("/spec/nodes/selector", expression("Exists", json!(["a"])), "In and NotIn have values"),
        ("/spec/rollout/windows", window("0 25 * * *"), "spec.rollout.windows[0].cron"),
        ("/spec/rollout/windows", window("0 2 * *  "), "spec.rollout.windows[0].cron"),
        ("/metadata/name", json!("x".repeat(33)), "at most 32"),
        ("/spec/nodes/tolerations", json!([{ "operator": "Foo" }]), "Unsupported value: \"Foo\""),
        ("/spec/nodes/tolerations", json!([{ "key": "a", "effect": "No" }]), "Unsupported value"),
        ("/spec/nodes/tolerations", json!([{ "effect": "NoExecute" }]), "without a key"),
        ("/spec/handlers/0/podOverhead", json!({ "memory": "lots" }), "podOverhead.memory"),
    ];
    for (path, value, sentence) in cases {
        let told = refusal(fleet, &changed(path, value))?;
        ensure!(told.contains(sentence), "{path}: {told}");
    }
    Ok(())
}

fn immutable(fleet: &Fleet) -> Result<()> {
    // Of no node, so that nothing becomes of it.
    fleet.shim("stays", &image("good"))?;
    let change = |kind: &str, name: &str, patch: Value| -> Result<String> {
        let patch = patch.to_string();
        match fleet.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch]) {
            Ok(_) => bail!("changed: {patch}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    };
    let handlers = |name: &str, class: &str| json!({ "spec": { "handlers": [{ "name": name, "runtimeClassName": class }] } });
    let told = change("wasmshim", "stays", handlers("other", "stays"))?;
    ensure!(told.contains("a handler stays"), "{told}");
    let told = change("wasmshim", "stays", handlers("wherry", "other"))?;
    ensure!(told.contains("a handler keeps its RuntimeClass"), "{told}");
    fleet.api.create(&json!({
        "apiVersion": "wherry.dev/v1alpha1", "kind": "ShimRevision", "metadata": { "name": "fixed" },
        "spec": { "image": image("good"), "handlers": [{ "name": "wherry" }] },
    }))?;
    let told = change("shimrevision", "fixed", json!({ "spec": { "image": image("bad") } }))?;
    ensure!(told.contains("a revision never changes"), "{told}");
    Ok(())
}
