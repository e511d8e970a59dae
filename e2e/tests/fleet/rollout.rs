//! As it should go: nodes are proved, pods run, releases follow each other, and nothing is left.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use wherry_e2e::cluster::audit;
use wherry_e2e::command::{Output, until};
use wherry_e2e::helm::{self, Helm, NAME, PUBLISHED, ROLLOUT, shim};
use wherry_e2e::suite::{Case, For};

use crate::pods::Web;
use crate::world::{Fleet, SOON, label};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("the_chart_is_pulled_as_it_was_pushed", For::Wherry, pulled),
    ("nodes_are_proved_and_pods_answer", For::Wherry, proved),
    ("images_are_imported_where_there_is_no_registry", For::Wherry, imported),
    ("another_release_comes_without_a_failed_request_or_a_restart", For::Wherry, upgraded),
];

pub(crate) const LAST: &[Case<Fleet>] = &[
    ("a_shim_is_not_taken_from_under_a_pod", For::Wherry, held),
    ("nodes_are_left_as_they_were_when_nobody_needs_them", For::Wherry, left),
];

/// What a cluster has after all: definitions, without which objects of theirs would go, the namespace, which is Helm's
/// and not the chart's, and in it who led last.
const STAYS: [&str; 8] = [
    "APIService /v1alpha1.wherry.dev",
    "ConfigMap wherry-system/kube-root-ca.crt",
    "CustomResourceDefinition /nodeshims.wherry.dev",
    "CustomResourceDefinition /shimrevisions.wherry.dev",
    "CustomResourceDefinition /wasmshims.wherry.dev",
    "Lease wherry-system/wherry-operator",
    "Namespace /wherry-system",
    "ServiceAccount wherry-system/default",
];

fn pulled(fleet: &Fleet) -> Result<()> {
    let (release, [flag, certificate]) = (&fleet.releases.good, helm::trust(&fleet.cluster));
    for helm in Helm::ALL {
        let folder = fleet.cluster.place.path(&format!("{helm:?}"));
        fs::create_dir(&folder)?;
        let to = folder.display().to_string();
        let words = ["pull", PUBLISHED, "--version", release.version, "--destination", &to];
        // Not by whoever does not know the registry.
        let told = helm.on(&fleet.cluster, &words)?;
        ensure!(told.code != 0 && told.stderr.contains("certificate"), "{helm:?}: {told}");
        helm.on(&fleet.cluster, &[&words[..], &[&flag, &certificate]].concat())?.ok()?;
        let file = folder.join(release.chart.file_name().unwrap_or_default());
        ensure!(fs::read(file)? == fs::read(&release.chart)?, "{helm:?} has another chart");
    }
    Ok(())
}

fn proved(fleet: &Fleet) -> Result<()> {
    fleet.untouched()?;
    fleet.bring(&["install"], &fleet.releases.good, json!({}))?;
    fleet.complete("Complete")?;
    for node in &fleet.cluster.nodes {
        // The status says so first, and then the node.
        fleet.cluster.api.until(&fleet.node(node)?, SOON, |node| label(node) == "ready")?;
    }
    Helm::V4.on(&fleet.cluster, &["test", NAME, "--timeout", "2m"])?.ok()?;
    Web::on(&fleet.cluster)?.end()
}

/// As for a place without a network.
fn imported(fleet: &Fleet) -> Result<()> {
    const SPACE: [&str; 4] = ["ctr", "-n", "airgap", "images"];
    for node in &fleet.cluster.nodes {
        fs::copy(&fleet.releases.good.archive, node.path("/root/images.tar"))?;
        node.ask(&[&SPACE[..], &["import", "/root/images.tar"]].concat())?;
        let names = node.ask(&[&SPACE[..], &["ls", "-q"]].concat())?;
        let wanted =
            ["wherry-node", "wherry-operator"].map(|it| format!("registry.test/wherry/{it}:1.0.0"));
        ensure!(names.lines().collect::<Vec<_>>() == wanted, "{names}");
        let [agent, operator] = &wanted;
        node.ask(&[&SPACE[..], &["rm", agent, operator]].concat())?;
        fs::remove_file(node.path("/root/images.tar"))?;
    }
    Ok(())
}

fn upgraded(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    let before = (fleet.daemons()?, web.pods()?);
    let programs = fleet.in_use()?;
    let traffic = web.traffic()?;
    fleet.installed(&fleet.releases.next)?;
    let answers = traffic.end()?;
    println!("{answers} requests answered while the release changed");
    ensure!(fleet.in_use()?.iter().zip(&programs).all(|(now, then)| now != then));
    ensure!((fleet.daemons()?, web.pods()?) == before, "something was restarted");
    web.end()?;
    // What starts now starts with it.
    Web::on(&fleet.cluster)?.end()
}

/// Whoever deletes the `WasmShim` itself waits for its pods.
fn held(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    fleet.cluster.api.delete(&shim(NAME))?;
    let blocked = || fleet.phases().is_ok_and(|told| told.contains("InUse"));
    ensure!(until(SOON, blocked), "{}", fleet.told());
    web.asks()?;
    web.end()?;
    fleet.cluster.api.gone(&shim(NAME), ROLLOUT)?;
    clean(fleet)
}

fn left(fleet: &Fleet) -> Result<()> {
    // It comes back with the next upgrade.
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    let uninstall = || -> Result<Output> { Helm::V4.uninstall(&fleet.cluster, &[]) };
    let (told, pods) = (uninstall()?, web.pods()?);
    let count = fleet.cluster.nodes.len();
    for part in [&*format!("{count} pods run by WasmShim wherry"), "default/web-"] {
        let said = told.stdout.contains(part) || told.stderr.contains(part);
        ensure!(told.code != 0 && said, "{part} is not told: {told}");
    }
    ensure!(fleet.phases()? == vec!["Ready"; count].join(" "), "{}", fleet.told());
    ensure!(web.pods()? == pods, "pods were started again");
    web.asks()?;
    web.end()?;
    // All of it ran with the rights of the chart. At its end they go a moment before who has them.
    let denied = audit::denied(&audit::calls(&fleet.cluster.place)?);
    ensure!(denied.is_empty(), "{}", denied.join("\n"));
    uninstall()?.ok()?;
    clean(fleet)?;
    let mut added = Vec::new();
    let gone = || {
        added = fleet.added().unwrap_or_default();
        added == STAYS
    };
    ensure!(until(SOON, gone), "left: {added:?}");
    Ok(())
}

/// Nothing of ours is on any node, and nothing says that it is.
fn clean(fleet: &Fleet) -> Result<()> {
    for node in &fleet.cluster.nodes {
        let seen = fleet.node(node)?;
        let (metadata, spec, status) = (&seen["metadata"], &seen["spec"], &seen["status"]);
        let places =
            [&metadata["labels"], &metadata["annotations"], &spec["taints"], &status["conditions"]];
        for place in places {
            ensure!(!place.to_string().contains("wherry"), "{}: {place}", node.name());
        }
    }
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "wherry" }});
    fleet.cluster.api.gone(&class, SOON)?;
    fleet.untouched()
}
