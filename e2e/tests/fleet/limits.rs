//! What systemd allows of restarts, which is not ours alone to spend.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wherry_e2e::command;
use wherry_e2e::helm::ROLLOUT;
use wherry_e2e::suite::{Case, For};

use crate::rights::{FOLDER, copy_agent};
use crate::world::{Fleet, OPERATORS};

pub(crate) const CASES: &[Case<Fleet>] =
    &[("an_agent_restarts_what_was_restarted_too_often", For::Wherry, spent)];

const UNIT: &str = "containerd.service";
/// Far longer than the guard waits, and than this takes.
const LIMIT: &str = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3\n";

/// containerd was started as often as it may be, by somebody else; and is restarted by the agent, and by its undo.
fn spent(fleet: &Fleet) -> Result<()> {
    fleet.installed(&fleet.releases.good)?;
    // Nobody else works on the node.
    fleet.scale(0)?;
    let node = fleet.cluster.node("old");
    let (folder, revision) = copy_agent(node)?;
    let agent = |work: &str, smoke: &str| -> Result<Value> {
        let program = format!("{FOLDER}/wherry-node");
        let programs = format!("--programs={FOLDER}");
        let words = [&*program, &*programs, "--smoke", smoke, "--revision", &*revision, work];
        let output = command::run(&mut node.command(&words), b"", ROLLOUT)?;
        serde_json::from_str(&output.stdout).with_context(|| output.to_string())
    };
    let good = &*fleet.releases.good.agent;
    let report = agent("remove", good)?;
    ensure!(report["outcome"] == "Removed", "{report}");

    let drop_in = format!("/run/systemd/system/{UNIT}.d");
    fs::create_dir_all(node.path(&drop_in))?;
    fs::write(node.path(&format!("{drop_in}/limit.conf")), LIMIT)?;
    node.ask(&["systemctl", "daemon-reload"])?;
    let spend = || -> Result<()> {
        node.ask(&["systemctl", "reset-failed", UNIT])?;
        for _ in 0..3 {
            node.ask(&["systemctl", "restart", UNIT])?;
        }
        Ok(())
    };
    spend()?;
    let report = agent("apply", "wherry.test/none:1")?;
    ensure!(report["outcome"] == "Reverted", "{report}");
    ensure!(node.ask(&["systemctl", "is-active", UNIT])? == "active");
    spend()?;
    let report = agent("apply", good)?;
    ensure!(report["outcome"] == "Ready", "{report}");
    let report = agent("verify", good)?;
    ensure!(report["outcome"] == "Ready", "{report}");
    spend()?;
    // Nobody else would get another.
    ensure!(node.run(&["systemctl", "restart", UNIT])?.code != 0, "there is no limit");

    node.ask(&["rm", "-r", &drop_in])?;
    node.ask(&["systemctl", "daemon-reload"])?;
    node.ask(&["systemctl", "reset-failed", UNIT])?;
    node.ask(&["systemctl", "start", UNIT])?;
    fs::remove_dir_all(&folder)?;
    fleet.scale(OPERATORS)
}
