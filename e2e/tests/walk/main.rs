//! What the documents tell people to do, done as it is written: the install by hand, the samples, the walk-through of the
//! README. On nodes that have nothing of ours, with containerd 1.7 and 2.4.

mod document;
mod install;
mod readme;
mod samples;

use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wherry_e2e::cluster::Cluster;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::rig::{PROGRAMS, Runtime};
use wherry_e2e::suite::{self, Case, Ground};

const CONFIG: &str = "/etc/containerd/config.toml";

/// A cluster whose nodes are as they were before us.
struct Walk {
    cluster: Cluster,
    /// containerd's configuration on each node, as it was.
    before: Vec<String>,
    installed: Mutex<Installed>,
}

/// Whether the nodes have what the manual installs.
enum Installed {
    No,
    Yes,
    /// Something failed on the way from one to the other.
    Broken,
}

fn main() -> ExitCode {
    // One after the other, in this order: each leaves the nodes as the next wants them, or makes them so by itself.
    let cases: Vec<Case<Walk>> = [samples::CASES, install::CASES, readme::CASES].concat();
    suite::main_of_waiters("walk", 1, Walk::start, &cases)
}

impl Walk {
    fn start() -> Result<Walk> {
        let cluster = Cluster::chosen()?;
        ensure!(cluster.runtime == Runtime::Wherry, "the documents are of Wherry, not of runc");
        cluster.api.delete(&json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "wherry" },
        }))?;
        fs::create_dir_all(document::home(&cluster))?;
        let before = cluster.nodes.iter().map(bare).collect::<Result<Vec<_>>>()?;
        Ok(Walk { cluster, before, installed: Mutex::new(Installed::No) })
    }
}

/// Takes off what the nodes of other suites are born with; the configuration as it is then.
fn bare(node: &Node) -> Result<String> {
    for program in PROGRAMS {
        let path = format!("/usr/local/bin/{program}");
        node.ask(&["sh", "-c", &format!("umount {path} && rm {path}")])?;
    }
    let config = node.path(CONFIG);
    let text = fs::read_to_string(&config)?;
    let at = text.find("containerd.runtimes.wherry]").context("no handler to take off")?;
    let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
    fs::write(&config, &text[..begin])?;
    node.ask(&["systemctl", "restart", "containerd"])?;
    Ok(text[..begin].to_string())
}

impl Ground for Walk {
    fn runtime(&self) -> Runtime {
        self.cluster.runtime
    }

    fn title(&self) -> String {
        self.cluster.title()
    }

    fn finish(&self) -> Result<()> {
        self.cluster.finish()
    }

    fn log(&self) -> String {
        self.cluster.log()
    }
}
