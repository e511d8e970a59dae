//! As it may go: what does not work, who dies, and what somebody else does.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::is_ready;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::command::until;
use wherry_e2e::helm::{NAMESPACE, ROLLOUT};
use wherry_e2e::suite::{Case, For};
use wherry_e2e::tree::Tree;

use crate::pods::Web;
use crate::world::{Fleet, SOON, label};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("a_release_that_does_not_work_stops_at_the_canary", For::Wherry, broken),
    ("a_guard_puts_back_what_a_dead_agent_left", For::Wherry, guarded),
    ("a_node_that_boots_in_the_midst_is_put_back", For::Wherry, interrupted),
    ("a_node_that_was_booted_is_looked_at", For::Wherry, booted),
    ("what_somebody_else_removes_comes_back", For::Wherry, repaired),
];

/// How many orders each node was given.
fn attempts(fleet: &Fleet) -> Result<BTreeMap<String, String>> {
    let each = "jsonpath={range .items[*]}{.spec.node} {.spec.attempt}{\"\\n\"}{end}";
    let told = fleet.cluster.ask(&["get", "nodeshims", "-o", each])?;
    let pairs = told.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs.map(|(node, attempt)| (node.to_owned(), attempt.to_owned())).collect())
}

fn broken(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    let before = (fleet.in_use()?, fleet.daemons()?, web.pods()?);
    let orders = attempts(fleet)?;
    let traffic = web.traffic()?;
    fleet.upgrade(&fleet.releases.broken, json!({}))?;
    let told = fleet.complete("RolledBack")?;
    let rejected = &told["status"]["rejected"];
    ensure!(rejected["message"].as_str().is_some_and(|it| it.contains("canary")), "{rejected}");
    // The nodes are as they were; now what is wanted of them is so, too.
    fleet.roll_back()?;
    fleet.complete("Complete")?;
    println!("{} requests answered while a release failed", traffic.end()?);
    ensure!((fleet.in_use()?, fleet.daemons()?, web.pods()?) == before, "{}", fleet.told());
    let after = attempts(fleet)?;
    let touched =
        after.iter().filter(|(node, attempt)| orders.get(*node) != Some(*attempt)).count();
    ensure!(touched == 1, "more than the canary: {orders:?} {after:?}");
    web.end()
}

/// What of a node containerd is configured by.
fn configuration(node: &Node) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.add(&node.path("/etc/containerd"), "etc")?;
    Ok(tree)
}

/// How far the work on a node has come, if any is under way.
fn stage(node: &Node) -> Option<String> {
    let journal = fs::read(node.path("/opt/wherry/transaction/journal.json")).ok()?;
    let journal: Value = serde_json::from_slice(&journal).ok()?;
    journal["stage"].as_str().map(str::to_owned)
}

fn guarded(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    let nodes = &fleet.cluster.nodes;
    let before = nodes.iter().map(configuration).collect::<Result<Vec<_>>>()?;
    let (in_use, pods) = (fleet.in_use()?, web.pods()?);
    let (node, was) = abandoned(fleet, &before)?;
    let back = || stage(node).is_none() && configuration(node).is_ok_and(|now| now == *was);
    ensure!(until(SOON, back), "no guard came to {}:\n{}", node.name(), node.log(40));
    ensure!(fleet.in_use()? == in_use);
    web.asks()?;
    web.ready()?;
    ensure!(web.pods()? == pods, "pods were started again");
    fleet.cluster.ask(&["delete", "pods", "--all", "-n", NAMESPACE])?;
    // With the operators that the chart has.
    fleet.roll_back()?;
    fleet.complete("Complete")?;
    let after = nodes.iter().map(configuration).collect::<Result<Vec<_>>>()?;
    ensure!(after == before && fleet.in_use()? == in_use, "{}", fleet.told());
    ensure!(web.pods()? == pods, "pods were started again");
    web.end()
}

/// A node whose agent died in the midst of a bad configuration, with nobody to come after it.
fn abandoned<'a>(fleet: &'a Fleet, before: &'a [Tree]) -> Result<(&'a Node, &'a Tree)> {
    let (node, was) = thread::scope(|threads| {
        let upgrade = threads.spawn(|| misconfigure(fleet));
        let stopped = stop_agent(fleet, before);
        upgrade.join().map_err(|_| anyhow!("a panic beside Helm"))??;
        stopped
    })?;
    // Nobody else is to finish or to undo it: neither the operator nor its Job.
    fleet.scale(0)?;
    fleet.cluster.ask(&["delete", "jobs", "--all", "-n", NAMESPACE, "--cascade=orphan"])?;
    ensure!(stage(node).is_some(), "the guard came while the agent was there");
    node.ask(&["pkill", "-KILL", "-x", "wherry-node"])?;
    Ok((node, was))
}

/// What of systemd's is there for the next boot.
fn units(node: &Node) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.add(&node.path("/etc/systemd"), "systemd")?;
    Ok(tree)
}

fn interrupted(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let nodes = &fleet.cluster.nodes;
    let before = nodes.iter().map(configuration).collect::<Result<Vec<_>>>()?;
    let of_systemd = nodes.iter().map(units).collect::<Result<Vec<_>>>()?;
    let in_use = fleet.in_use()?;
    let (node, was) = abandoned(fleet, &before)?;
    // With it goes the timer.
    node.reboot(&fleet.cluster.place)?;
    ensure!(configuration(node)? != *was, "it was put back before the boot");
    let back = || stage(node).is_none() && configuration(node).is_ok_and(|now| now == *was);
    ensure!(until(SOON, back), "no guard came to {}:\n{}", node.name(), node.log(40));
    fleet.cluster.ask(&["delete", "pods", "--all", "-n", NAMESPACE])?;
    fleet.roll_back()?;
    fleet.complete("Complete")?;
    ensure!(nodes.iter().map(units).collect::<Result<Vec<_>>>()? == of_systemd);
    ensure!(fleet.in_use()? == in_use, "{}", fleet.told());
    Web::on(&fleet.cluster)?.end()
}

/// Options that the shim does not know: containerd takes them, and no container runs with them.
fn misconfigure(fleet: &Fleet) -> Result<()> {
    let handlers =
        json!([{ "name": "wherry", "runtimeClassName": "wherry", "options": "nonsense = true" }]);
    let restart = json!({ "guardTimeout": "60s" });
    let fields = json!({ "handlers": handlers, "restart": restart });
    fleet.upgrade(&fleet.releases.good, fields).map(drop)
}

/// Stops the first agent that works, in the midst of it: its file is in place, and containerd starts on it.
fn stop_agent<'a>(fleet: &'a Fleet, before: &'a [Tree]) -> Result<(&'a Node, &'a Tree)> {
    let nodes = &fleet.cluster.nodes;
    let mut found = None;
    until(SOON, || {
        let at =
            |node: &&Node| stage(node).is_some_and(|it| ["Committed", "Restarted"].contains(&&*it));
        found = nodes.iter().zip(before).find(|(node, _)| at(node));
        found.is_some()
    });
    let (node, before) = found.with_context(|| format!("no node is changed:\n{}", fleet.told()))?;
    node.ask(&["pkill", "-STOP", "-x", "wherry-node"])?;
    ensure!(configuration(node)? != *before, "the agent was too late to be stopped");
    Ok((node, before))
}

fn booted(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    for node in &fleet.cluster.nodes {
        let boot = |node: &Value| node["status"]["nodeInfo"]["bootID"].clone();
        let object = fleet.node(node)?;
        let (before, programs) = (boot(&object), fleet.in_use()?);
        node.reboot(&fleet.cluster.place)?;
        let again = move |now: &Value| is_ready(now) && boot(now) != before;
        let after = fleet.cluster.api.until(&object, SOON, again)?;
        let wanted = boot(&after);
        let seen = fleet.object(node)?;
        let looked = move |it: &Value| {
            it["status"]["observed"]["bootId"] == wanted && it["status"]["phase"] == "Ready"
        };
        fleet.cluster.api.until(&seen, ROLLOUT, looked).with_context(|| fleet.told())?;
        ensure!(fleet.in_use()? == programs);
        ensure!(label(&fleet.node(node)?) == "ready");
        web.ready()?;
    }
    let answers = until(SOON, || web.asks().is_ok());
    ensure!(answers, "the service does not answer");
    web.end()
}

fn repaired(fleet: &Fleet) -> Result<()> {
    const OFTEN: &str = "10s";
    fleet.installed(&fleet.releases.good)?;
    let web = Web::on(&fleet.cluster)?;
    let nodes = &fleet.cluster.nodes;
    let before = nodes.iter().map(configuration).collect::<Result<Vec<_>>>()?;
    let (in_use, pods) = (fleet.in_use()?, web.pods()?);
    let as_before = || {
        let now = nodes.iter().map(configuration).collect::<Result<Vec<_>>>();
        now.is_ok_and(|now| now == before) && fleet.in_use().is_ok_and(|now| now == in_use)
    };
    // One has lost its configuration, as by somebody's tool that knows better: its kubelet tells so.
    nodes[1].ask(&["rm", "-r", "/etc/containerd/wherry.d"])?;
    nodes[1].ask(&["systemctl", "restart", "containerd"])?;
    ensure!(until(ROLLOUT, as_before), "{}", fleet.told());
    // Another its programs: nobody tells, it is found when it is looked at.
    nodes[0].ask(&["rm", "/opt/wherry/current"])?;
    fleet.upgrade(&fleet.releases.good, json!({ "drift": { "verifyInterval": OFTEN } }))?;
    ensure!(until(ROLLOUT, as_before), "{}", fleet.told());
    fleet.complete("Complete")?;
    ensure!(web.pods()? == pods, "pods were started again");
    fleet.installed(&fleet.releases.good)?;
    web.end()?;
    Web::on(&fleet.cluster)?.end()?;
    Ok(())
}
