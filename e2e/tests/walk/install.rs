//! deploy/manual/README.md, as it is written.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use wherry_e2e::cluster::node::Node;
use wherry_e2e::rig::{self, PROGRAMS, Version};
use wherry_e2e::suite::{Case, For};

use crate::document::{Block, at_cluster, blocks, on_node, root};
use crate::{CONFIG, Installed, Walk};

pub(crate) const CASES: &[Case<Walk>] = &[
    ("the_manual_installs", For::Wherry, |walk| {
        walk.install()?;
        for node in &walk.cluster.nodes {
            let said = node.ask(&["wherry", "doctor"])?;
            ensure!(said.ends_with("\nall is well"), "{}: {said}", node.name());
            let quiet = node.ask(&["wherry", "ps"])?;
            ensure!(quiet == NOTHING, "{}: {quiet}", node.name());
        }
        Ok(())
    }),
    ("the_manual_removes_all_of_it", For::Wherry, |walk| {
        walk.install()?;
        walk.remove()
    }),
];

const DOCUMENT: &str = "deploy/manual/README.md";
const NOTHING: &str = "no container of Wherry runs here";

/// Whether a block of this place is for that node.
fn meant(block: &Block, node: &Node) -> bool {
    let version = match node.about.containerd {
        Version::V1_7 => "containerd-1",
        Version::V2_1 | Version::V2_4 => "containerd-2",
    };
    block.place == "node" || block.place == format!("node {version}")
}

impl Walk {
    /// Until all nodes have it.
    pub(crate) fn install(&self) -> Result<()> {
        let mut installed = self.installed.lock().unwrap_or_else(|broken| broken.into_inner());
        match *installed {
            Installed::Yes => return Ok(()),
            Installed::Broken => bail!("an install before this one was not finished"),
            Installed::No => *installed = Installed::Broken,
        }
        for node in &self.cluster.nodes {
            let folder = node.path("/tmp/wherry");
            fs::create_dir_all(&folder)?;
            for name in PROGRAMS {
                fs::copy(rig::programs()?.join(name), folder.join(name))?;
            }
        }
        let (nodes, cluster) = self.run(&["## 1.", "## 2.", "## 3."])?;
        ensure!(nodes >= 3 * self.cluster.nodes.len() && cluster == 1, "{nodes} {cluster}");
        *installed = Installed::Yes;
        Ok(())
    }

    /// Nodes are what they were, to the byte.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut installed = self.installed.lock().unwrap_or_else(|broken| broken.into_inner());
        *installed = Installed::Broken;
        let (nodes, cluster) = self.run(&["## Off again"])?;
        ensure!(nodes >= 3 * self.cluster.nodes.len() && cluster == 1, "{nodes} {cluster}");
        for (node, before) in self.cluster.nodes.iter().zip(&self.before) {
            let config = fs::read_to_string(node.path(CONFIG))?;
            ensure!(config == *before, "{}: {config}", node.name());
            let drop_in = node.path("/etc/containerd/conf.d/wherry.toml");
            ensure!(!drop_in.exists(), "{}", drop_in.display());
            for program in PROGRAMS {
                let path = node.path(&format!("/usr/local/bin/{program}"));
                ensure!(!path.exists(), "{} is still there", path.display());
            }
            // It is as it was, and works.
            node.ask(&["ctr", "version"])?;
        }
        *installed = Installed::No;
        Ok(())
    }

    /// Runs what stands below these headings where it is meant to be run; how many blocks on nodes, and elsewhere.
    fn run(&self, headings: &[&str]) -> Result<(usize, usize)> {
        let (mut on_nodes, mut elsewhere) = (0, 0);
        for heading in headings {
            for block in blocks(DOCUMENT, heading)? {
                if block.place == "cluster" {
                    at_cluster(&self.cluster, &root(), &block.script)?;
                    elsewhere += 1;
                }
                for node in self.cluster.nodes.iter().filter(|node| meant(&block, node)) {
                    let said = on_node(node, &block);
                    said.with_context(|| format!("{DOCUMENT}, {heading}, {}", block.script))?;
                    on_nodes += 1;
                }
            }
        }
        Ok((on_nodes, elsewhere))
    }
}
