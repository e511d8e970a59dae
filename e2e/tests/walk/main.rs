//! What the documents tell people to do, done as it is written: the install by hand, the samples, the walk-through of the
//! README. On nodes that have nothing of ours, with containerd 1.7, 2.1 and 2.4.

mod document;
mod install;
mod readme;
mod samples;

use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use wherry_e2e::cluster::files::FLEET;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::cluster::{Cluster, is_ready};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{self, Case, Ground};

const CONFIG: &str = "/etc/containerd/config.toml";

const READY: Duration = Duration::from_secs(90);

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
        let cluster = Cluster::of(&FLEET)?;
        ensure!(cluster.runtime == Runtime::Wherry, "the documents are of Wherry, not of runc");
        fs::create_dir_all(document::home(&cluster))?;
        let of_default = cluster.node("mid");
        configure_by_default(of_default)?;
        cluster.api.until(&of_default.object(), READY, is_ready)?;
        let config = |node: &Node| Ok(fs::read_to_string(node.path(CONFIG))?);
        let before = cluster.nodes.iter().map(config).collect::<Result<Vec<_>>>()?;
        Ok(Walk { cluster, before, installed: Mutex::new(Installed::No) })
    }
}

/// What `containerd config default` writes, with as little changed as a node of ours needs.
fn configure_by_default(node: &Node) -> Result<()> {
    let mut text = node.ask(&["containerd", "config", "default"])? + "\n";
    let changes = [
        ("sandbox = 'registry.k8s.io/pause:3.10'", "sandbox = 'wherry.test/pause:1'"),
        ("config_path = ''", "config_path = '/etc/containerd/certs.d'"),
        ("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"),
    ];
    for (from, to) in changes {
        ensure!(text.contains(from), "containerd's default has no {from}: {text}");
        text = text.replacen(from, to, 1);
    }
    fs::write(node.path(CONFIG), text)?;
    node.ask(&["systemctl", "restart", "containerd"]).map(drop)
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
