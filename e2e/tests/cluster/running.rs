//! The thinnest pods: a program that ends, and one that does not.

use anyhow::{Result, ensure};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::suite::{Case, For};

use crate::pod::{each, of};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("a_program_says_something_and_succeeds", For::Any, |c| {
        each(c, &of(&c.guest("hello")?, &[]), |pod| {
            let said = pod.said()?;
            ensure!(said.contains("Hello"), "{said:?}");
            ensure!(pod.seen()?["status"]["phase"] == "Succeeded");
            Ok(())
        })
    }),
    ("the_exit_code_is_the_programs", For::Any, |c| {
        each(c, &of(&c.guest("exit")?, &["7"]), |pod| {
            let end = pod.end()?;
            ensure!(end["exitCode"] == 7 && end["reason"] == "Error", "{end}");
            Ok(())
        })
    }),
    ("a_program_that_stays_is_running_and_ready", For::Any, stays),
    ("two_dozen_pods_start_at_once", For::Any, many),
];

fn stays(cluster: &Cluster) -> Result<()> {
    each(cluster, &of(&cluster.guest("sleep")?, &[]), |pod| {
        let seen = pod.ready()?;
        ensure!(seen["status"]["phase"] == "Running", "{seen}");
        pod.delete()?;
        pod.gone()
    })
}

/// Where systemd makes the cgroups, it takes one away that nobody is in for an instant.
fn many(cluster: &Cluster) -> Result<()> {
    let pod = of(&cluster.guest("sleep")?, &[]);
    let nodes = cluster.nodes.iter().flat_map(|node| [node; 12]);
    let pods = nodes.map(|node| pod.on(cluster, node)).collect::<Result<Vec<_>>>()?;
    pods.iter().try_for_each(|pod| pod.ready().map(drop))
}
