//! From an object to a fleet and back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::condition;
use wherry_e2e::collector;
use wherry_e2e::command::until;
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, SOON, image, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("a_fleet_is_proved_and_left_without_a_trace", For::Wherry, there_and_back),
    ("a_rollout_is_a_trace_and_each_order_a_span_of_it", For::Wherry, traced),
    ("a_bad_revision_stops_at_the_canary_and_is_rolled_back", For::Wherry, rolled_back),
    ("a_shim_in_use_is_not_taken_away", For::Wherry, in_use),
    ("a_shim_in_use_is_taken_away_when_its_pods_are_evicted", For::Wherry, drained),
    ("revisions_that_nobody_runs_go", For::Wherry, collected),
    ("operators_that_die_get_there_and_one_that_is_asked_to_end_hands_over", For::Wherry, failover),
    ("a_node_that_changed_is_looked_at", For::Wherry, drift),
];

fn complete(count: usize) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    let wanted = format!("{count}/{count}");
    move |shim| {
        let status = &shim["status"];
        status["phase"] == "Complete" && status["nodes"]["summary"] == *wanted
    }
}

fn label(case: &str) -> String {
    format!("{case}.wherry.dev.node-restriction.kubernetes.io/shim")
}

fn node_of(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } })
}

fn there_and_back(fleet: &Fleet) -> Result<()> {
    let (case, nodes) = ("there", fleet.nodes("there", 4)?);
    let taint = json!({ "spec": { "taints": [
        { "key": "wherry.dev/there", "value": "pending", "effect": "NoSchedule" },
        { "key": "someone.else/there", "value": "pending", "effect": "NoSchedule" },
    ]}});
    fleet.api.change(&node_of(&nodes[0]), None, taint)?;
    let shim = fleet.shim(case, &image("good"))?;
    fleet.api.until(&shim, SOON, complete(4))?;
    // A moment after the status that tells of them all.
    for name in &nodes {
        fleet.api.until(&node_of(name), SOON, move |node| {
            node["metadata"]["labels"][label(case)] == "ready"
                && condition(node, "wherry.dev/there") == "True"
        })?;
        ensure!(fleet.kubelet.orders(name) == ["Apply"], "{:?}", fleet.kubelet.orders(name));
    }
    fleet.api.until(&node_of(&nodes[0]), SOON, |node| {
        let taints = node["spec"]["taints"].to_string();
        !taints.contains("wherry.dev") && taints.contains("someone.else")
    })?;
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": case } });
    let found = fleet.api.get(&class)?;
    ensure!(found["scheduling"]["nodeSelector"][label(case)] == "ready", "{found}");
    ensure!(found["overhead"]["podFixed"]["memory"] == "4Mi", "{found}");
    let port = fleet.port()?;
    let (wanted, mut metrics) =
        (r#"wherry_shim_nodes{shim="there",phase="ready"} 4"#, Ok(String::new()));
    let told = until(SOON, || {
        metrics = fleet.ask(port, "/metrics");
        metrics.as_ref().is_ok_and(|metrics| metrics.contains(wanted))
    });
    ensure!(told, "{metrics:?}");
    ensure!(fleet.ask(8081, "/readyz")?.starts_with("HTTP/1.1 200"));
    ensure!(fleet.ask(8082, "/healthz")?.starts_with("HTTP/1.1 200"));
    fleet.api.delete(&shim)?;
    fleet.api.gone(&shim, SOON)?;
    for name in &nodes {
        ensure!(fleet.kubelet.installed(name).is_none(), "{name}");
        let node = fleet.node(name)?;
        ensure!(node["metadata"]["labels"][label(case)].is_null(), "{node}");
    }
    fleet.api.gone(&class, SOON)?;
    let left = fleet.kubectl(&[
        "get",
        "nodeshims,jobs",
        "-A",
        "-l",
        "wherry.dev/shim=there",
        "-o",
        "name",
    ])?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}

fn rolled_back(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("back", 3)?;
    let shim = fleet.shim("back", &image("good"))?;
    let good = fleet.api.until(&shim, SOON, complete(3))?["status"]["targetRevision"].clone();
    let handlers =
        json!([{ "name": "wherry", "runtimeClassName": "back", "options": "bad = true" }]);
    let bad = json!([{ "op": "replace", "path": "/spec/handlers", "value": handlers }]).to_string();
    fleet.kubectl(&["patch", "wasmshim", "back", "--type=json", "-p", &bad])?;
    let back = fleet.api.until(&shim, SOON, |it| {
        it["status"]["phase"] == "RolledBack" && it["status"]["nodes"]["summary"] == "3/3"
    })?;
    ensure!(back["status"]["lastGoodRevision"] == good, "{}", back["status"]);
    let orders: Vec<_> = nodes.iter().map(|name| fleet.kubelet.orders(name)).collect();
    let touched = orders.iter().filter(|orders| orders.len() > 1).count();
    ensure!(touched == 1, "more than the canary: {orders:?}");
    for name in &nodes {
        ensure!(fleet.kubelet.installed(name).as_deref() == good.as_str(), "{name}");
    }
    Ok(())
}

fn in_use(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("used", 1)?;
    let shim = fleet.shim("used", &image("good"))?;
    fleet.api.until(&shim, SOON, complete(1))?;
    fleet.kubelet.busy(&nodes[0], true);
    fleet.api.delete(&shim)?;
    let word =
        ["get", "nodeshims", "-l", "wherry.dev/shim=used", "-o", "jsonpath={..status.phase}"];
    let refused =
        wherry_e2e::command::until(SOON, || fleet.kubectl(&word).is_ok_and(|it| it == "InUse"));
    ensure!(refused && fleet.kubelet.installed(&nodes[0]).is_some());
    fleet.kubelet.busy(&nodes[0], false);
    fleet.api.gone(&shim, SOON)
}

fn drained(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("drain", 1)?;
    let mut object = shim("drain", &image("good"));
    object["spec"]["uninstall"]["whenInUse"] = json!("Drain");
    let shim = fleet.api.create(&object)?;
    fleet.api.until(&shim, SOON, complete(1))?;
    // As a user of the shim that the agent's report names.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": nodes[0] },
        "spec": { "nodeName": nodes[0], "containers": [{ "name": "c", "image": "i" }] },
    });
    fleet.api.create(&pod)?;
    fleet.kubelet.busy(&nodes[0], true);
    fleet.api.delete(&shim)?;
    fleet.api.until(&pod, SOON, |pod| !pod["metadata"]["deletionTimestamp"].is_null())?;
    fleet.kubectl(&["delete", "pod", &nodes[0], "--force", "--grace-period=0"])?;
    fleet.kubelet.busy(&nodes[0], false);
    fleet.api.gone(&shim, SOON)
}

fn collected(fleet: &Fleet) -> Result<()> {
    // Of no node, so that nothing becomes of it but revisions.
    let mut object = shim("many", &image("good"));
    object["spec"]["revisionHistoryLimit"] = json!(1);
    let shim = fleet.api.create(&object)?;
    let words = ["get", "shimrevisions", "-l", "wherry.dev/shim=many", "-o", "name"];
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        let handlers = json!([{ "name": "wherry", "runtimeClassName": "many", "options": format!("# {round}") }]);
        let change = json!([{ "op": "replace", "path": "/spec/handlers", "value": handlers }]);
        fleet.kubectl(&["patch", "wasmshim", "many", "--type=json", "-p", &change.to_string()])?;
        let known = seen.clone();
        let told = fleet.api.until(&shim, SOON, move |it| {
            it["status"]["targetRevision"].as_str().is_some_and(|name| !known.contains(name))
        })?;
        seen.insert(told["status"]["targetRevision"].as_str().unwrap_or_default().to_string());
    }
    ensure!(seen.len() == 4, "{seen:?}");
    // The target, and one more.
    let few = || fleet.kubectl(&words).is_ok_and(|all| all.lines().count() == 2);
    ensure!(wherry_e2e::command::until(SOON, few), "{}", fleet.kubectl(&words)?);
    fleet.api.delete(&shim)?;
    fleet.api.gone(&shim, SOON)
}

fn failover(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("dies", 8)?;
    let shim = fleet.shim("dies", &image("good"))?;
    for _ in 0..3 {
        let leader = fleet.leader()?;
        let (name, port) = if leader == "a" { ("a", 8081) } else { ("b", 8082) };
        fleet.kill(name)?;
        fleet.operator(name, port)?;
        // Another one leads when it is sure that the first does not, or the same, which is a new one.
        std::thread::sleep(Duration::from_secs(4));
    }
    fleet.api.until(&shim, SOON, complete(8))?;
    for name in &nodes {
        ensure!(
            fleet.kubelet.orders(name) == ["Apply"],
            "{name}: {:?}",
            fleet.kubelet.orders(name)
        );
    }
    handover(fleet)
}

/// A Lease that is left lying is nobody's after fifteen seconds; one that is given back, at the next look.
fn handover(fleet: &Fleet) -> Result<()> {
    let leader = fleet.leader()?;
    let (name, port) = if leader == "a" { ("a", 8081) } else { ("b", 8082) };
    fleet.terminate(name)?;
    let begun = Instant::now();
    let other = fleet.leader()?;
    ensure!(other != leader, "{other} leads again");
    ensure!(begun.elapsed() < Duration::from_secs(8), "after {:?}", begun.elapsed());
    fleet.operator(name, port)
}

fn traced(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("trace", 3)?;
    let shim = fleet.shim("trace", &image("good"))?;
    fleet.api.until(&shim, SOON, complete(3))?;
    let names: Vec<String> = nodes.iter().map(|name| format!("Install {name}")).collect();
    let mut told = Vec::new();
    let complete = until(SOON, || {
        told = collector::spans(&fleet.place).unwrap_or_default();
        told.retain(|span| names.contains(&span.name) || span.name == "rollout trace");
        told.len() == 4
    });
    ensure!(complete, "{told:?}");
    let root = told.iter().find(|span| span.name == "rollout trace").context("no root")?;
    ensure!(root.parent.is_empty() && root.status != "Error", "{root:?}");
    ensure!(root.attributes.contains(&("wherry.phase".into(), "Complete".into())), "{root:?}");
    for span in told.iter().filter(|span| names.contains(&span.name)) {
        ensure!((&span.trace, &span.parent) == (&root.trace, &root.id), "{span:?} {root:?}");
        ensure!(span.attributes.contains(&("wherry.outcome".into(), "Ready".into())), "{span:?}");
    }
    Ok(())
}

fn drift(fleet: &Fleet) -> Result<()> {
    let nodes = fleet.nodes("boot", 2)?;
    let shim = fleet.shim("boot", &image("good"))?;
    fleet.api.until(&shim, SOON, complete(2))?;
    let boot = json!({ "status": { "nodeInfo": { "bootID": "2" } } });
    fleet.api.change(&node_of(&nodes[0]), Some("status"), boot)?;
    let looked = || fleet.kubelet.orders(&nodes[0]) == ["Apply", "Verify"];
    ensure!(wherry_e2e::command::until(SOON, looked), "{:?}", fleet.kubelet.orders(&nodes[0]));
    ensure!(fleet.kubelet.orders(&nodes[1]) == ["Apply"]);
    // Somebody takes the handler away, again and again: who leads may be killed by another case, and forgets.
    let orders = || fleet.kubelet.orders(&nodes[1]);
    let looked = || orders().starts_with(&["Apply".into(), "Verify".into()]);
    for told in [json!([{ "name": "" }, { "name": "wherry" }]), json!([{ "name": "" }])]
        .iter()
        .cycle()
        .take(40)
    {
        let status = json!({ "status": { "runtimeHandlers": told } });
        fleet.api.change(&node_of(&nodes[1]), Some("status"), status)?;
        if wherry_e2e::command::until(Duration::from_secs(3), looked) {
            return Ok(());
        }
    }
    bail!("{:?}", orders())
}
