//! A node's daemons and the node itself end and begin again, under pods that serve.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::node::Node;
use wherry_e2e::cluster::{Cluster, is_ready};
use wherry_e2e::command::until;
use wherry_e2e::suite::{Case, For};

use crate::controllers::{LONGER, Web};
use crate::pod::{LIMIT, of};

/// Each alone: what the other cases do on these nodes would fail.
pub(crate) const CASES: &[Case<Cluster>] = &[
    ("kubelet_and_containerd_restart_under_load_and_nobody_sees_it", For::Wherry, restarts),
    ("pods_come_back_after_a_power_failure", For::Wherry, power_failure),
];

/// The containers of an app by their pods: ids and how often each has begun again.
fn containers(c: &Cluster, app: &str) -> Result<BTreeMap<String, (String, u64)>> {
    let told = c.ask(&["get", "pods", "-l", &format!("app={app}"), "-o", "json"])?;
    let pods: Value = serde_json::from_str(&told)?;
    let pods = pods["items"].as_array().context("no pods")?;
    let one = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let count = status["restartCount"].as_u64().unwrap_or(u64::MAX);
        (text(&pod["metadata"]["name"]), (text(&status["containerID"]), count))
    };
    Ok(pods.iter().map(one).collect())
}

fn ready(c: &Cluster, node: &Node) -> Result<()> {
    c.api.until(&node.object(), LONGER, is_ready).map(drop)
}

fn restarts(c: &Cluster) -> Result<()> {
    let web = Web::new(c, "steady", json!({}))?;
    let before = containers(c, "steady")?;
    let traffic = web.traffic()?;
    for node in &c.nodes {
        for words in [
            "restart kubelet",
            "restart containerd",
            "kill --kill-whom=main --signal=KILL containerd",
            "kill --kill-whom=main --signal=KILL kubelet",
        ] {
            node.ask(&["sh", "-c", &format!("systemctl {words}")])?;
            let back = || {
                let is_active = |unit| node.ask(&["systemctl", "is-active", unit]).is_ok();
                ["kubelet", "containerd"].into_iter().all(is_active)
                    && node.ask(&["ctr", "version"]).is_ok()
            };
            ensure!(until(LIMIT, back), "{words}: they are not back on {}", node.name());
            ready(c, node)?;
        }
    }
    // What kubelet thinks of its pods by then, it has asked the new containerd.
    for node in &c.nodes {
        of(&c.guest("hello")?, &[]).on(c, node)?.said()?;
    }
    web.available()?;
    traffic.into_iter().try_for_each(|one| one.end().map(drop))?;
    let after = containers(c, "steady")?;
    ensure!(before == after, "{before:?}\n{after:?}");
    Ok(())
}

fn power_failure(c: &Cluster) -> Result<()> {
    for node in &c.nodes {
        let here = json!({ "nodeSelector": { "kubernetes.io/hostname": node.name() }});
        let name = format!("back-on-{}", node.name());
        let web = Web::new(c, &name, here)?;
        let before = containers(c, &name)?;
        node.power_failure(&c.place)?;
        // Its pods are ready by the API's memory until kubelet has looked.
        let again = || {
            containers(c, &name).is_ok_and(|now| {
                now.keys().eq(before.keys())
                    && now
                        .iter()
                        .all(|(pod, (id, count))| *count > before[pod].1 && *id != before[pod].0)
            })
        };
        ensure!(until(LONGER, again), "{}: {:?}", node.name(), containers(c, &name)?);
        ready(c, node)?;
        web.available()?;
        for traffic in web.traffic()? {
            traffic.end()?;
        }
        sound(node)?;
    }
    Ok(())
}

/// Nothing of the old life lies about, and what was compiled in it can still be used.
fn sound(node: &Node) -> Result<()> {
    let told: Value = serde_json::from_str(&node.run(&["wherry", "doctor", "--json"])?.stdout)?;
    for check in ["cache", "leftovers"] {
        let findings = told["findings"].as_array().context("no findings")?;
        let of: Vec<_> = findings.iter().filter(|it| it["check"] == check).collect();
        ensure!(!of.is_empty() && of.iter().all(|it| it["level"] == "ok"), "{of:?}");
    }
    Ok(())
}
