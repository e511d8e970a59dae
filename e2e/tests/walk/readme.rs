//! The walk-through of README.md, as it is written: on one node and then on another, with what the reader has on their
//! own machine.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail, ensure};
use wherry_e2e::cluster::node::Node;
use wherry_e2e::rig::{self, Version};
use wherry_e2e::suite::{Case, For};

use crate::Walk;
use crate::document::{at_cluster, blocks, home, on_node, program, root};

pub(crate) const CASES: &[Case<Walk>] =
    &[("the_readme_leads_to_an_answer_over_http", For::Wherry, walk_through)];

const HEADING: &str = "## From a bare node";

fn walk_through(walk: &Walk) -> Result<()> {
    let cluster = &walk.cluster;
    walk.clear()?;
    // The reader's checkout: `make` has been run by whoever runs this suite, which needs the same programs.
    let folder = home(cluster);
    fs::create_dir_all(folder.join(".cache/wherry"))?;
    let dist = folder.join("dist/x86_64-unknown-linux-musl");
    fs::create_dir_all(&dist)?;
    for name in rig::PROGRAMS {
        symlink(rig::programs()?.join(name), dist.join(name))?;
    }
    symlink(rig::guests(), folder.join(".cache/wherry/guests"))?;
    symlink(root().canonicalize()?.join("deploy"), folder.join("deploy"))?;
    program(&cluster.place.path("programs"), "make", "[ \"$*\" = 'dist guests' ]")?;
    for node in cluster.nodes.iter().filter(|node| node.about.containerd >= Version::V2_1) {
        on(walk, node).with_context(|| node.name())?;
    }
    Ok(())
}

/// The other nodes take no pods meanwhile.
fn on(walk: &Walk, node: &Node) -> Result<()> {
    let cluster = &walk.cluster;
    let folder = home(cluster);
    let cordon = |how: &str| {
        let others = cluster.nodes.iter().filter(|other| other.name() != node.name());
        let names: Vec<&str> = others.map(Node::name).collect();
        at_cluster(cluster, &root(), &format!("kubectl {how} {}", names.join(" ")))
    };
    cordon("cordon")?;
    let there = node.path("/tmp/wherry");
    fs::remove_dir_all(&there).ok();
    fs::create_dir_all(&there)?;
    // The last word is the node's folder.
    let copy = format!(
        "for last; do :; done; [ \"$last\" = root@NODE:/tmp/wherry/ ] || exit 1\n\
         for file; do [ \"$file\" = \"$last\" ] || cp \"$file\" {}/ || exit; done",
        there.display()
    );
    program(&cluster.place.path("programs"), "scp", &copy)?;
    let mut said = String::new();
    for block in blocks("README.md", HEADING)? {
        said = match block.place.as_str() {
            "host" | "cluster" => at_cluster(cluster, &folder, &block.script),
            "node" => on_node(node, &block),
            other => bail!("nobody runs what is for {other:?}"),
        }
        .with_context(|| block.script.clone())?;
    }
    ensure!(said.ends_with("Hello, WASI!"), "{said}");
    at_cluster(cluster, &folder, "kubectl delete -f deploy/samples/http.yaml")?;
    at_cluster(cluster, &folder, "kubectl wait --for=delete pod --all --timeout=170s")?;
    cordon("uncordon").map(drop)
}
