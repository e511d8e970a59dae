//! What the agent's Job asks for: with all of it the work is done, and without any one of it some of the work is not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::command::{self, Output};
use wherry_e2e::helm::ROLLOUT;
use wherry_e2e::rig;
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, OPERATORS};

pub(crate) const CASES: &[Case<Fleet>] =
    &[("each_right_of_the_agent_is_needed", For::Wherry, needed)];

const CONFIG: &str = "/etc/containerd/config.toml";
/// As `operator/src/agent.rs` has them.
const CAPABILITIES: [&str; 3] = ["sys_chroot", "dac_override", "chown"];
const SOMEBODY: &str = "1000:1000";

/// An agent on a node, with a container's rights and these capabilities.
struct Agent<'a> {
    node: &'a Node,
    image: &'a str,
    /// The revision that the node runs.
    revision: String,
}

impl Agent<'_> {
    fn run(&self, capabilities: &[&str], work: &str) -> Result<Output> {
        let all = capabilities.iter().fold("-all".to_owned(), |all, one| format!("{all},+{one}"));
        let words = [
            "setpriv",
            "--no-new-privs",
            "--inh-caps=-all",
            &format!("--bounding-set={all}"),
            "/root/agent/wherry-node",
            // The same folder by another name, which is entered as the Job's mount is.
            "--host-root=/usr/..",
            "--programs=/root/agent",
            "--smoke",
            self.image,
            "--revision",
            &self.revision,
            work,
        ];
        command::run(&mut self.node.command(&words), b"", ROLLOUT)
    }

    fn report(&self, capabilities: &[&str], work: &str) -> Result<Value> {
        let output = self.run(capabilities, work)?;
        serde_json::from_str(&output.stdout).with_context(|| output.to_string())
    }

    /// All capabilities but one.
    fn without(&self, one: &str, work: &str) -> Result<Value> {
        let rest: Vec<&str> = CAPABILITIES.into_iter().filter(|name| *name != one).collect();
        self.report(&rest, work)
    }
}

fn needed(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    // Nobody else works on the node.
    fleet.scale(0)?;
    // Here containerd's own file is edited.
    let node = fleet.cluster.node("old");
    let (folder, revision) = copy_agent(node)?;
    let agent = Agent { node, image: &fleet.releases.good.agent, revision };
    let config = node.path(CONFIG);
    let before = fs::read(&config)?;
    node.ask(&["chown", SOMEBODY, CONFIG])?;
    node.ask(&["chmod", "600", CONFIG])?;

    let output = agent.run(&CAPABILITIES[1..], "plan")?;
    ensure!(output.code == 1 && output.stderr.contains("can't enter /usr/.."), "{output}");
    let report = agent.without("dac_override", "plan")?;
    ensure!(tells(&report, "Failed", &format!("open {CONFIG}: permission denied")), "{report}");
    let report = agent.without("chown", "remove")?;
    ensure!(tells(&report, "Reverted", &format!("can't write {CONFIG}")), "{report}");
    ensure!(fs::read(&config)? == before, "a file that could not be written was written");

    let report = agent.report(&CAPABILITIES, "remove")?;
    ensure!(report["outcome"] == "Removed", "{report}");
    ensure!(fs::read(&config)? != before);
    let report = agent.report(&CAPABILITIES, "apply")?;
    ensure!(report["outcome"] == "Ready", "{report}");
    ensure!(fs::read(&config)? == before);
    let meta = fs::metadata(&config)?;
    ensure!((meta.uid(), meta.gid(), meta.mode() & 0o777) == (1000, 1000, 0o600), "{meta:?}");

    node.ask(&["chown", "0:0", CONFIG])?;
    node.ask(&["chmod", "644", CONFIG])?;
    fs::remove_dir_all(&folder)?;
    fleet.scale(OPERATORS)
}

/// Where an agent's programs are on a node, for a case that runs them by hand.
pub(crate) const FOLDER: &str = "/root/agent";

/// Puts them there. The folder as a path of the machine, and the revision that the node runs.
pub(crate) fn copy_agent(node: &Node) -> Result<(PathBuf, String)> {
    let folder = node.path(FOLDER);
    fs::create_dir(&folder)?;
    for name in rig::PROGRAMS.into_iter().chain(["wherry-node"]) {
        fs::copy(rig::programs()?.join(name), folder.join(name))?;
    }
    let record: Value =
        serde_json::from_slice(&fs::read(node.path("/opt/wherry/installed.json"))?)?;
    Ok((folder, record["revision"].as_str().unwrap_or_default().to_owned()))
}

fn tells(report: &Value, outcome: &str, why: &str) -> bool {
    report["outcome"] == outcome && report["message"].as_str().is_some_and(|it| it.contains(why))
}
