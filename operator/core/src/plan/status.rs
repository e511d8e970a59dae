//! What is told of a fleet.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use wherry_report::Outcome;

use crate::crd::{self, Counts, Failure, Mode, Rejected, RolloutPhase, WasmShimStatus, WaveStatus};

use super::Refusal;
use super::fleet::View;
use super::node::{Node, failed};

/// More are in the `NodeShim`s.
const FAILURES: usize = 10;
/// Nodes that are named of each reason to wait.
const WAITING: usize = 5;

impl View<'_> {
    pub(super) fn status(&self, rejected: Option<Rejected>, open: bool) -> WasmShimStatus {
        let nodes = self.counts(rejected.is_some());
        let stage = self.stage();
        let waves = &self.shim().spec.rollout.waves;
        let started = self.nodes().iter().any(|node| node.started(&self.target));
        let moves = self.mode() == Mode::Managed && rejected.is_none() && !self.deleting();
        // A node that has only its files proves nothing.
        let good = moves && started && stage.wave == waves.len() && nodes.pending_restart == 0;
        let (last_good, previous_good) = self.good(good, rejected.is_some());
        let wave = waves.get(stage.wave).filter(|_| moves && !self.established());
        WasmShimStatus {
            observed_generation: self.shim().metadata.generation.unwrap_or_default(),
            phase: self.phase(&nodes, rejected.is_some(), open),
            target_revision: Some(self.target.clone()),
            last_good_revision: last_good,
            previous_good_revision: previous_good,
            retry: self.retry.clone(),
            rejected,
            wave: wave.map(|wave| WaveStatus {
                name: wave.name.clone(),
                index: stage.wave as u32,
                nodes: stage.reach as u32,
                soak_until: stage.soak_until.map(Time),
            }),
            nodes,
            waits: self.waits(open),
            failures: self.failures(),
            conditions: Vec::new(),
        }
    }

    /// The last good revision and the one before it, the target being good now or rejected.
    fn good(&self, good: bool, rejected: bool) -> (Option<String>, Option<String>) {
        let was = self.was();
        match was.last_good_revision == Some(self.target.clone()) {
            // It was good, and is none any more.
            true if rejected => (was.previous_good_revision.clone(), None),
            false if good => (Some(self.target.clone()), was.last_good_revision.clone()),
            _ => (was.last_good_revision.clone(), was.previous_good_revision.clone()),
        }
    }

    fn phase(&self, nodes: &Counts, rejected: bool, open: bool) -> RolloutPhase {
        let stage = self.stage();
        let managed = self.mode() == Mode::Managed;
        let is_under_way = stage.wave < self.shim().spec.rollout.waves.len();
        let waits = nodes.pending > 0 || is_under_way;
        match () {
            _ if self.paused() => RolloutPhase::Paused,
            _ if self.deleting() => RolloutPhase::Removing,
            _ if rejected => RolloutPhase::RolledBack,
            _ if managed && !self.approved() => RolloutPhase::AwaitingApproval,
            _ if nodes.progressing > 0 || nodes.removing > 0 => RolloutPhase::Progressing,
            _ if managed && stage.soak_until.is_some() => RolloutPhase::Soaking,
            _ if managed && waits && !open => RolloutPhase::AwaitingWindow,
            _ if nodes.pending > 0 => RolloutPhase::Progressing,
            // By nodes on which no agent began: they are tried again.
            _ if managed && is_under_way && !self.established() && nodes.failed > 0 => {
                RolloutPhase::Progressing
            }
            _ if nodes.pending_restart > 0 => RolloutPhase::AwaitingRestart,
            _ => RolloutPhase::Complete,
        }
    }

    fn counts(&self, rejected: bool) -> Counts {
        let mut counts = Counts::default();
        for node in self.nodes() {
            let place = match self.wanted(node) {
                true => self.place(node, rejected, &mut counts),
                false if self.clean(node) => continue,
                false => &mut counts.removing,
            };
            *place += 1;
            counts.desired += u32::from(self.wanted(node));
        }
        counts.summary = format!("{}/{}", counts.ready, counts.desired);
        counts
    }

    fn place<'c>(&self, node: &Node, rejected: bool, counts: &'c mut Counts) -> &'c mut u32 {
        let Some(seen) = node.known() else {
            return match node.under_way() {
                Some(_) => &mut counts.progressing,
                None if node.held => &mut counts.held,
                None => &mut counts.pending,
            };
        };
        // A node is looked at without being any less than it was.
        let changes = node.under_way().is_some_and(|last| last.action.disrupts());
        let right = seen.revision == self.target || rejected;
        match seen.outcome {
            _ if changes => &mut counts.progressing,
            _ if node.held => &mut counts.held,
            Outcome::Ready if right => &mut counts.ready,
            Outcome::Planned if right && self.mode() == Mode::Plan => &mut counts.ready,
            Outcome::PendingRestart if right => &mut counts.pending_restart,
            Outcome::Failed | Outcome::Reverted if right => &mut counts.failed,
            Outcome::Drifted => &mut counts.drifted,
            Outcome::Unsupported => &mut counts.unsupported,
            _ => &mut counts.pending,
        }
    }

    /// Why nodes are not clean that are to be, the nodes of one reason together.
    fn waits(&self, open: bool) -> Vec<String> {
        let left = |node: &&Node| !self.wanted(node) && !self.clean(node);
        let mut all: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for node in self.nodes().iter().filter(left) {
            let last = node.known().filter(|seen| seen.action == crd::Action::Remove);
            let why = match last.map(|seen| seen.outcome) {
                _ if node.under_way().is_some() => "at work",
                _ if node.held => "held by the annotation wherry.dev/hold",
                _ if self.paused() => "paused by spec.rollout.pace",
                _ if !node.ready => "not ready",
                Some(Outcome::InUse) => "containers run by it",
                _ if !open => "no window of spec.rollout.windows is open",
                Some(outcome) if failed(outcome) => "tried again, as the last removal failed",
                _ => "others go first (spec.rollout.maxUnavailable)",
            };
            all.entry(why).or_default().push(&node.name);
        }
        let told = |(why, nodes): (&str, Vec<&str>)| {
            let shown = nodes[..nodes.len().min(WAITING)].join(", ");
            let more = nodes.len().saturating_sub(WAITING);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{why}: {shown}{more}")
        };
        all.into_iter().map(told).collect()
    }

    fn failures(&self) -> Vec<Failure> {
        let seen = self.nodes().iter().filter(|node| self.wanted(node) && node.known().is_some());
        let bad = seen.filter_map(|node| {
            let seen = node.known().filter(|seen| failed(seen.outcome))?;
            let why = match seen.never_ran {
                true => "its agent was not let onto the node".to_string(),
                false => format!("{:?}", seen.outcome),
            };
            let message = format!("{:?} of {}: {why}", seen.action, seen.revision);
            Some(Failure { node: node.name.clone(), message, since: seen.at.clone() })
        });
        let mut all: Vec<Failure> = bad.collect();
        all.sort_by(|a, b| b.since.0.cmp(&a.since.0).then_with(|| a.node.cmp(&b.node)));
        all.truncate(FAILURES);
        all
    }
}

/// The status' conditions, each with the time since which it is so.
pub fn conditions(
    status: &WasmShimStatus,
    refused: Option<&Refusal>,
    was: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let phase = format!("{:?}", status.phase);
    let nodes = &status.nodes;
    let bad = nodes.failed + nodes.drifted;
    let rejected = status.rejected.as_ref().map(|it| it.message.clone()).unwrap_or_default();
    // Nothing is done any more unless somebody else does something first.
    let settled = match status.phase {
        RolloutPhase::Complete | RolloutPhase::RolledBack | RolloutPhase::Refused => true,
        RolloutPhase::Progressing
        | RolloutPhase::Soaking
        | RolloutPhase::AwaitingRestart
        | RolloutPhase::Paused
        | RolloutPhase::AwaitingApproval
        | RolloutPhase::AwaitingWindow
        | RolloutPhase::Removing => false,
    };
    let accepted = refused.map(|it| it.message().to_string()).unwrap_or_default();
    let told = [
        ("Accepted", refused.is_none(), accepted),
        ("Available", nodes.ready > 0 || nodes.desired == 0, format!("{} ready", nodes.summary)),
        ("Progressing", !settled, format!("{} nodes at work", nodes.progressing)),
        ("Degraded", bad > 0, format!("{} failed, {} drifted", nodes.failed, nodes.drifted)),
        ("RolledBack", status.rejected.is_some(), rejected),
    ];
    let condition = |(kind, holds, message): (&str, bool, String)| {
        let holds = if holds { "True" } else { "False" };
        let mut condition = Condition {
            type_: kind.to_string(),
            status: holds.to_string(),
            reason: match refused {
                Some(refused) if kind == "Accepted" => refused.reason().to_string(),
                _ => phase.clone(),
            },
            message,
            last_transition_time: now.clone(),
            observed_generation: Some(status.observed_generation),
        };
        if let Some(was) = was.iter().find(|was| was.type_ == kind && was.status == holds) {
            condition.last_transition_time = was.last_transition_time.clone();
        }
        condition
    };
    told.map(condition).into()
}
