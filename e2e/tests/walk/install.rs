//! deploy/manual/README.md, as it is written.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
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
    ("the_doctor_finds_in_a_debug_pod_what_it_finds_on_the_node", For::Wherry, |walk| {
        walk.install()?;
        walk.cluster.nodes.iter().try_for_each(|node| in_debug_pod(walk, node))
    }),
    ("the_manual_removes_all_of_it", For::Wherry, |walk| {
        walk.install()?;
        walk.remove()
    }),
    ("the_manual_knows_every_list_of_imports", For::Wherry, |walk| {
        walk.clear()?;
        let merging = |node: &&Node| node.about.containerd >= Version::V2_1;
        walk.cluster.nodes.iter().filter(merging).try_for_each(imports)
    }),
];

const DOCUMENT: &str = "deploy/manual/README.md";
const LIMIT: Duration = Duration::from_secs(120);
const NOTHING: &str = "no container of Wherry runs here";

/// Whether a block of this place is for that node.
fn meant(block: &Block, node: &Node) -> bool {
    let version = match node.about.containerd {
        Version::V1_7 => "containerd-1",
        Version::V2_1 | Version::V2_4 => "containerd-2",
    };
    block.place == "node" || block.place == format!("node {version}")
}

/// As README.md has it, but for the terminal.
fn in_debug_pod(walk: &Walk, node: &Node) -> Result<()> {
    let cluster = &walk.cluster;
    let (target, image) = (format!("node/{}", node.name()), cluster.native()?);
    let doctor = ["/host/usr/local/bin/wherry", "doctor", "--json", "--root", "/host"];
    let words = ["debug", &target, "--image", &image, "--profile=sysadmin", "--"];
    cluster.ask(&[&words[..], &doctor].concat())?;
    let pods = cluster.ask(&["get", "pods", "-o", "name"])?;
    let prefix = format!("pod/node-debugger-{}-", node.name());
    let pod = pods.lines().find(|name| name.starts_with(&prefix)).context("no pod")?;
    let name = pod.trim_start_matches("pod/");
    let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name } });
    let is_over =
        |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let seen = cluster.api.until(&object, LIMIT, is_over)?;
    let found = cluster.ask(&["logs", pod])?;
    ensure!(seen["status"]["phase"] == "Succeeded", "{}: {found}", node.name());
    let on_node = node.ask(&["wherry", "doctor", "--json"])?;
    ensure!(found == on_node, "{}: {found}\n{on_node}", node.name());
    cluster.ask(&["delete", pod]).map(drop)
}

/// Before what stands in the main file; one that people write, and those that containerd writes by itself.
const IMPORTS: [&str; 6] = [
    "",
    "imports = []\n",
    "imports=['/etc/other/*.toml']\n",
    "imports = [\n  \"/etc/other/*.toml\",\n]\n",
    "imports = ['/etc/containerd/conf.d/*.toml']\n",
    "imports = [\"/etc/other/*.toml\", \"/etc/containerd/conf.d/*.toml\"]\n",
];

/// With each of them the handler is in the configuration, once and again, and gone without a trace.
fn imports(node: &Node) -> Result<()> {
    let only = |heading: &str| -> Result<Block> {
        let mut all = blocks(DOCUMENT, heading)?.into_iter();
        all.find(|block| block.place == "node containerd-2").context("no block for containerd 2")
    };
    let (write, remove) = (only("## 2.")?, only("## Off again")?);
    let before = fs::read_to_string(node.path(CONFIG))?;
    let rest: Vec<&str> = before.lines().filter(|line| !line.starts_with("imports")).collect();
    for list in IMPORTS {
        let main = format!("{list}{}\n", rest.join("\n"));
        fs::write(node.path(CONFIG), &main)?;
        on_node(node, &write)?;
        let once = fs::read_to_string(node.path(CONFIG))?;
        on_node(node, &write)?;
        let told = format!("{} with {list:?}: {once}", node.name());
        ensure!(fs::read_to_string(node.path(CONFIG))? == once, "another one, too: {told}");
        ensure!(!list.contains("/etc/other") || once.contains("/etc/other/*.toml"), "{told}");
        let dump = node.ask(&["containerd", "config", "dump"])?;
        ensure!(dump.contains("runtimes.wherry]"), "no handler: {told}");
        on_node(node, &remove)?;
        let after = fs::read_to_string(node.path(CONFIG))?;
        ensure!(after == main, "{told}\n{after}");
    }
    Ok(fs::write(node.path(CONFIG), before)?)
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

    /// Until no node has it. systemd refuses to start a unit six times within ten seconds: no restart without need.
    pub(crate) fn clear(&self) -> Result<()> {
        let is_bare = {
            let installed = self.installed.lock().unwrap_or_else(|broken| broken.into_inner());
            matches!(*installed, Installed::No)
        };
        if is_bare { Ok(()) } else { self.remove() }
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
