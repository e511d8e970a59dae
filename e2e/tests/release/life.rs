//! A release from its install to its end.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::helm::{Helm, NAME, NAMESPACE, rolled, shim};
use wherry_e2e::suite::{Case, For};

use crate::world::{Release, SOON};

pub(crate) const CASES: &[Case<Release>] = &[
    ("helm_4_from_the_install_to_the_uninstall", For::Wherry, |release| life(release, Helm::V4)),
    ("helm_3_from_the_install_to_the_uninstall", For::Wherry, |release| life(release, Helm::V3)),
    ("a_forced_uninstall_leaves_nodes_as_they_are", For::Wherry, forced),
];

fn life(release: &Release, helm: Helm) -> Result<()> {
    let told = release.bring(helm, "install", &[])?;
    ensure!(told.contains("kubectl get wasmshim wherry --watch"), "{told}");
    ensure!(told.contains("pod-security.kubernetes.io/enforce=privileged"), "{told}");
    let deployment = ["get", "deployment", "wherry-operator", "-n", NAMESPACE];
    let ready = [&deployment[..], &["-o", "jsonpath={.status.readyReplicas}"]].concat();
    ensure!(release.cluster.ask(&ready)? == "2");
    rolled(&release.cluster, "Complete")?;
    let told = helm.on(&release.cluster, &["test", NAME, "--timeout", "2m"])?.ok()?.stdout;
    ensure!(told.contains("Succeeded"), "{told}");
    upgraded(release, helm)?;
    refused(release, helm)?;
    let told = helm.uninstall(&release.cluster, &[])?.ok()?.stdout;
    ensure!(told.contains("uninstalled"), "{told}");
    ensure!(release.definitions()? == 3, "definitions go with the release");
    let gone = || release.left().is_ok_and(|left| left.is_empty());
    ensure!(wherry_e2e::command::until(SOON, gone), "left: {}", release.left()?);
    Ok(())
}

/// What the chart says is written anew each time, and what people say beside it stays.
fn upgraded(release: &Release, helm: Helm) -> Result<()> {
    let rollout =
        |key: &str| -> Result<Value> { Ok(release.shim()?["spec"]["rollout"][key].clone()) };
    ensure!(rollout("maxUnavailable")? == "10%");
    let patch = json!({ "spec": { "rollout": { "pace": "Paused" } } });
    let words = ["patch", "wasmshim", NAME, "--type=merge", "-p"];
    release.cluster.ask(&[&words[..], &[&patch.to_string()]].concat())?;
    let words = ["--set", "shim.spec.rollout.maxUnavailable=5,operator.log=debug"];
    release.bring(helm, "upgrade", &words)?;
    ensure!(rollout("maxUnavailable")? == 5);
    ensure!(rollout("pace")? == "Paused", "an upgrade goes on with what was paused");
    let told = helm.uninstall(&release.cluster, &[])?;
    ensure!(told.code != 0 && said(&told).contains("is paused"), "{told}");
    // A release whose end was refused is rolled back to one that is there.
    helm.on(&release.cluster, &["rollback", NAME, "1", "--wait", "--timeout", "3m"])?.ok()?;
    ensure!(rollout("maxUnavailable")? == "10%");
    let patch = json!({ "spec": { "rollout": { "pace": "Running" } } }).to_string();
    release.cluster.ask(&["patch", "wasmshim", NAME, "--type=merge", "-p", &patch])?;
    Ok(())
}

fn said(output: &wherry_e2e::command::Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

fn refused(release: &Release, helm: Helm) -> Result<()> {
    let cluster = &release.cluster;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "user" },
        "spec": { "runtimeClassName": "wherry", "terminationGracePeriodSeconds": 1, "containers": [
            { "name": "c", "image": cluster.guest("sleep")?, "args": ["1000"] },
        ]},
    });
    cluster.api.create(&pod)?;
    cluster.api.until(&pod, SOON, |pod| pod["status"]["phase"] == "Running")?;
    let before = release.left()?;
    let told = helm.uninstall(&release.cluster, &[])?;
    ensure!(told.code != 0, "{told}");
    for part in ["1 pods run by WasmShim wherry", "default/user on ", "helm uninstall --no-hooks"] {
        ensure!(said(&told).contains(part), "{part} is not told: {told}");
    }
    ensure!(release.shim()?["metadata"]["deletionTimestamp"].is_null(), "it goes all the same");
    let after = release.left()?;
    // The hook of an earlier refusal makes room for the next.
    let stays = |one: &&str| !one.contains("/wherry-uninstall");
    let lost: Vec<&str> = before.lines().filter(stays).filter(|one| !after.contains(one)).collect();
    ensure!(lost.is_empty(), "a refused uninstall took {lost:?}");
    cluster.api.delete(&pod)?;
    cluster.api.gone(&pod, SOON)?;
    // One of no node that nobody would look after any more.
    let mut other = shim("other");
    other["spec"] = release.shim()?["spec"].clone();
    other["spec"]["handlers"][0]["runtimeClassName"] = json!("other");
    other["spec"]["nodes"]["selector"] = json!({ "matchLabels": { "pool": "none" } });
    cluster.api.create(&other)?;
    let told = helm.uninstall(&release.cluster, &[])?;
    ensure!(told.code != 0 && said(&told).contains("kubectl delete wasmshim other"), "{told}");
    cluster.api.delete(&other)?;
    cluster.api.gone(&other, SOON)
}

fn forced(release: &Release) -> Result<()> {
    release.bring(Helm::V4, "install", &[])?;
    rolled(&release.cluster, "Complete")?;
    Helm::V4.uninstall(&release.cluster, &["--no-hooks"])?.ok()?;
    let shim = release.shim()?;
    ensure!(shim["metadata"]["deletionTimestamp"].is_null(), "{shim}");
    // Another install, by the other Helm too, goes on with it.
    release.bring(Helm::V3, "install", &[])?;
    rolled(&release.cluster, "Complete")?;
    ensure!(release.shim()?["metadata"]["uid"] == shim["metadata"]["uid"]);
    Helm::V3.uninstall(&release.cluster, &[])?.ok()?;
    let gone = || release.left().is_ok_and(|left| left.is_empty());
    ensure!(wherry_e2e::command::until(SOON, gone), "left: {}", release.left()?);
    Ok(())
}
