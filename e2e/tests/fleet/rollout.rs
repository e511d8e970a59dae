//! As it should go: nodes are proved, pods run, releases follow each other, and nothing is left.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use wherry_e2e::command::until;
use wherry_e2e::suite::{Case, For};

use crate::pods::Web;
use crate::world::{Fleet, SOON, label};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("nodes_are_proved_and_pods_answer", For::Wherry, proved),
    ("images_are_imported_where_there_is_no_registry", For::Wherry, imported),
    ("another_release_comes_without_a_failed_request_or_a_restart", For::Wherry, upgraded),
];

pub(crate) const LAST: &[Case<Fleet>] =
    &[("nodes_are_left_as_they_were_when_nobody_needs_them", For::Wherry, left)];

fn proved(fleet: &Fleet) -> Result<()> {
    fleet.untouched()?;
    fleet.installed(&fleet.releases.good)?;
    for node in &fleet.cluster.nodes {
        // The status says so first, and then the node.
        fleet.cluster.api.until(&fleet.node(node)?, SOON, |node| label(node) == "ready")?;
    }
    Web::on(&fleet.cluster)?.end()
}

/// As for a place without a network.
fn imported(fleet: &Fleet) -> Result<()> {
    const SPACE: [&str; 4] = ["ctr", "-n", "airgap", "images"];
    for node in &fleet.cluster.nodes {
        fs::copy(&fleet.releases.archive, node.path("/root/images.tar"))?;
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

fn left(fleet: &Fleet) -> Result<()> {
    let shim = fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    fleet.cluster.api.delete(&shim)?;
    let phases = ["get", "nodeshims", "-o", "jsonpath={.items[*].status.phase}"];
    let blocked = || fleet.cluster.ask(&phases).is_ok_and(|told| told.contains("InUse"));
    ensure!(until(SOON, blocked), "{}", fleet.told());
    web.asks()?;
    web.end()?;
    fleet.cluster.api.gone(&shim, crate::world::ROLLOUT)?;
    for node in &fleet.cluster.nodes {
        let seen = fleet.node(node)?;
        ensure!(label(&seen).is_null(), "{}", seen["metadata"]["labels"]);
    }
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "wherry" }});
    fleet.cluster.api.gone(&class, SOON)?;
    fleet.untouched()
}
