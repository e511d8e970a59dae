//! From nothing to every node and back, with everything that goes wrong on the way.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api as Objects;
use kube::api::ListParams;
use serde_json::{Value, json};
use wherry_e2e::cluster::control::kubectl;
use wherry_e2e::command::{self, patient};
use wherry_e2e::suite::{Case, For};

use crate::audit;
use crate::world::{A, B, Fleet, SOON, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("1_a_rollout_reaches_every_node", For::Wherry, rollout),
    ("2_at_rest_next_to_nothing_is_asked", For::Wherry, rest),
    ("3_an_upgrade_goes_on_although_operators_die", For::Wherry, kills),
    ("4_another_leads_within_twenty_seconds", For::Wherry, failover),
    ("5_a_revision_that_fails_on_a_tenth_stops_and_goes_back", For::Wherry, bad),
    ("6_nothing_is_left", For::Wherry, removal),
];

/// A leader that is not heard of for 15 seconds is none any more, and the next one has to learn what there is.
const FAILOVER: Duration = Duration::from_secs(20);
const KILLS: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(45);

/// Every node has what the spec asks for.
fn complete(fleet: &Fleet) -> impl Fn(&Value) -> bool + Send + Sync + 'static + use<> {
    let wanted = format!("{0}/{0}", fleet.nodes);
    move |shim| {
        let status = &shim["status"];
        status["observedGeneration"] == shim["metadata"]["generation"]
            && status["phase"] == "Complete"
            && status["nodes"]["summary"] == *wanted
    }
}

fn upgrade(fleet: &Fleet, options: &str) -> Result<()> {
    // A merge patch replaces lists whole.
    let patch = json!({ "spec": { "handlers": shim(options)["spec"]["handlers"] } }).to_string();
    let words = ["patch", "wasmshim", "scale", "--type=merge", "-p", &patch];
    command::run(&mut kubectl(&fleet.place, &words)?, b"", SOON)?.ok().map(drop)
}

fn rollout(fleet: &Fleet) -> Result<()> {
    fleet.leader()?;
    let (begun, at) = (Instant::now(), Timestamp::now());
    fleet.api.create(&shim("first"))?;
    fleet.api.until(&shim(""), fleet.long(), complete(fleet))?;
    let took = begun.elapsed();
    let requests = fleet.since(at)?;
    // Who gives orders knows all that there is.
    let orders = requests
        .iter()
        .skip_while(|it| (it.verb.as_str(), it.resource.as_str()) != ("create", "jobs"));
    let lists = orders.filter(|it| it.verb == "list").count();
    fleet.figure("rollout to every node", format!("{:.0} s", took.as_secs_f64()));
    let each = requests.len() as f64 / fleet.nodes as f64;
    fleet.figure("requests for each node of a rollout", format!("{each:.1}"));
    // An order, its Job, what came of it, the Job's end, the label and the condition; and a few for the fleet.
    ensure!(each < 8.0, "{:?}", audit::by_kind(&requests));
    ensure!(lists == 0, "{lists} lists after the first order: {:?}", audit::by_kind(&requests));
    Ok(())
}

fn rest(fleet: &Fleet) -> Result<()> {
    let at = Timestamp::now();
    // What is measured is that nothing happens.
    thread::sleep(REST);
    let requests = fleet.since(at)?;
    let rate = requests.len() as f64 / REST.as_secs_f64();
    fleet.figure("requests a second at rest, two operators", format!("{rate:.1}"));
    ensure!(rate < 20.0, "{:?}", audit::by_kind(&requests));
    ensure!(requests.iter().all(|it| it.verb != "list"), "{:?}", audit::by_kind(&requests));
    Ok(())
}

fn kills(fleet: &Fleet) -> Result<()> {
    let (begun, mut killed) = (Instant::now(), 0);
    upgrade(fleet, "second")?;
    let done = || fleet.api.get(&shim("")).map(|it| complete(fleet)(&it));
    while !done()? {
        ensure!(begun.elapsed() < fleet.long(), "not done after {killed} kills");
        thread::sleep(KILLS);
        let leader = fleet.leader()?;
        fleet.kill(leader)?;
        fleet.start(leader)?;
        killed += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    fleet.figure(
        "upgrade with a kill -9 of the leader every 10 s",
        format!("{took:.0} s, {killed} kills"),
    );
    ensure!(killed > 1, "it was done before anybody was killed");
    Ok(())
}

fn failover(fleet: &Fleet) -> Result<()> {
    upgrade(fleet, "third")?;
    let part = fleet.nodes / 20;
    fleet.api.until(&shim(""), fleet.long(), move |it| {
        it["status"]["nodes"]["progressing"].as_u64().is_some_and(|count| count > 2)
            && it["status"]["nodes"]["ready"].as_u64().is_some_and(|count| count > part as u64)
    })?;
    let leader = fleet.leader()?;
    fleet.kill(leader)?;
    let at = Timestamp::now();
    fleet.api.until(&shim(""), fleet.long(), complete(fleet))?;
    // What the other one writes first, but for the Lease; the last of the dead one may still have been on its way.
    let requests = fleet.since(at + SignedDuration::from_secs(1))?;
    let writes = |it: &&audit::Request| {
        it.resource != "leases" && !["get", "list", "watch"].contains(&it.verb.as_str())
    };
    let first = requests.iter().find(writes).context("nobody went on")?;
    let pause = first.at.duration_since(at).unsigned_abs();
    let told = format!("{:.1} s", pause.as_secs_f64());
    fleet.figure("from the death of the leader to another's first write", told);
    ensure!(pause < patient(FAILOVER), "{pause:?}");
    fleet.start(if leader == A { A } else { B })
}

fn bad(fleet: &Fleet) -> Result<()> {
    let before = fleet.api.get(&shim(""))?["status"]["lastGoodRevision"].clone();
    upgrade(fleet, "fails-7")?;
    let nodes = fleet.nodes;
    let back = fleet.api.until(&shim(""), fleet.long(), move |it| {
        let status = &it["status"];
        status["phase"] == "RolledBack"
            && status["nodes"]["progressing"] == 0
            && status["nodes"]["summary"] == format!("{nodes}/{nodes}")
    })?;
    ensure!(back["status"]["lastGoodRevision"] == before, "{}", back["status"]);
    let target = back["status"]["targetRevision"].as_str().unwrap_or_default();
    let touched = fleet.witness.ordered(target);
    fleet.figure("nodes that a revision reaches which fails on a tenth", format!("{touched}"));
    // The waves before the last one, the nodes among which the fourth fails, and what was at work at once by then.
    let most = fleet.nodes / 20 + 60 + fleet.limit();
    ensure!(touched < most, "{touched}, not {most}");
    Ok(())
}

fn removal(fleet: &Fleet) -> Result<()> {
    let begun = Instant::now();
    fleet.api.delete(&shim(""))?;
    fleet.api.gone(&shim(""), fleet.long())?;
    fleet.figure("removal from every node", format!("{:.0} s", begun.elapsed().as_secs_f64()));
    let nodes: Objects<Node> = Objects::all(fleet.api.client());
    let proved =
        ListParams::default().labels("scale.wherry.dev.node-restriction.kubernetes.io/shim");
    let labelled =
        fleet.api.within(fleet.long(), async move { Ok(nodes.list_metadata(&proved).await?) })?;
    ensure!(labelled.items.is_empty(), "{} nodes have the label of a proof", labelled.items.len());
    Ok(())
}
