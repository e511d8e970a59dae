//! What people want to know of a `WasmShim`, made of what the API has. It is what `-o json` prints.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use wherry_operator_core::crd::{
    self, Action, Approval, Counts, Mode, NodeShim, Phase, Rejected, RolloutPhase, WasmShim,
    revision_of,
};
use wherry_report::{Finding, Outcome};

use crate::cluster::{Cluster, Member};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shim {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) phase: RolloutPhase,
    pub(crate) verdict: Verdict,
    /// The status is of this spec, and not of an older one.
    pub(crate) seen: bool,
    pub(crate) target_revision: String,
    pub(crate) last_good_revision: Option<String>,
    pub(crate) rejected: Option<Rejected>,
    pub(crate) counts: Counts,
    /// What is waited for.
    pub(crate) waits: Option<Waits>,
    /// Empty unless a rollout goes by them.
    pub(crate) waves: Vec<Wave>,
    pub(crate) nodes: Vec<Node>,
}

/// What a script wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Verdict {
    /// Every node is as wanted that can be.
    Well,
    /// The rollout goes on, or waits.
    UnderWay,
    /// It has ended, and not everywhere well.
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Waits {
    /// For the operator to look at this spec.
    Operator,
    Resume,
    Approval,
    /// For one of these to open.
    Window(Vec<String>),
    Soak(Time),
    /// For containerd to be restarted on so many nodes, by others.
    Restart(u32),
    /// For another spec, or for what keeps this one from being done to go.
    Accepted(String),
    /// What nodes wait for that are to be cleaned.
    Nodes(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wave {
    pub(crate) name: String,
    /// How many nodes it and those before it are to have.
    pub(crate) nodes: usize,
    pub(crate) ready: usize,
    pub(crate) failed: usize,
    pub(crate) current: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) phase: NodePhase,
    /// It is as wanted, so nothing is to be done.
    pub(crate) settled: bool,
    pub(crate) revision: Option<String>,
    /// When a container proved it.
    pub(crate) proved_at: Option<Time>,
    pub(crate) runtime: Option<String>,
    pub(crate) wave: Option<String>,
    pub(crate) message: String,
    pub(crate) findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum NodePhase {
    Idle(Idle),
    Work(Work),
    /// What its last order came to.
    Settled(Phase),
}

/// Nothing was ever done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Idle {
    Waiting,
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Work {
    Installing,
    Verifying,
    Removing,
    Planning,
}

impl NodePhase {
    pub(crate) fn word(self) -> String {
        match self {
            NodePhase::Idle(it) => format!("{it:?}"),
            NodePhase::Work(it) => format!("{it:?}"),
            NodePhase::Settled(it) => format!("{it:?}"),
        }
    }

    pub(crate) fn at_work(self) -> bool {
        matches!(self, NodePhase::Work(_))
    }

    /// Somebody should look at it.
    pub(crate) fn bad(self) -> bool {
        matches!(self, NodePhase::Settled(Phase::Failed | Phase::Reverted | Phase::Drifted))
    }
}

/// Of all, or of the one that is named.
pub(crate) fn shims(cluster: &Cluster, only: Option<&str>) -> Vec<Shim> {
    let named = |shim: &&WasmShim| only.is_none_or(|only| name(shim) == only);
    let mut all: Vec<Shim> =
        cluster.shims.iter().filter(named).map(|it| shim(cluster, it)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub(crate) fn name(shim: &WasmShim) -> &str {
    shim.metadata.name.as_deref().unwrap_or_default()
}

fn shim(cluster: &Cluster, shim: &WasmShim) -> Shim {
    let status = shim.status.clone().unwrap_or_default();
    let (target, _) = revision_of(name(shim), &shim.spec);
    let seen = shim.metadata.generation.is_none_or(|it| status.observed_generation >= it);
    let rejected = status.rejected.filter(|it| it.revision == target);
    let members = cluster.nodes(shim);
    let about = About { shim, target: &target, rejected: rejected.is_some() };
    Shim {
        name: name(shim).to_string(),
        mode: shim.spec.mode,
        phase: status.phase,
        verdict: verdict(status.phase, &status.nodes, seen),
        seen,
        waits: waits(shim, seen),
        waves: if seen { about.waves(&members) } else { Vec::new() },
        nodes: members.iter().map(|member| about.node(member)).collect(),
        last_good_revision: status.last_good_revision,
        rejected,
        counts: status.nodes,
        target_revision: target,
    }
}

fn verdict(phase: RolloutPhase, counts: &Counts, seen: bool) -> Verdict {
    let bad = counts.failed + counts.drifted > 0;
    match phase {
        _ if !seen => Verdict::UnderWay,
        RolloutPhase::RolledBack | RolloutPhase::Refused => Verdict::Bad,
        RolloutPhase::Complete if bad => Verdict::Bad,
        RolloutPhase::Complete => Verdict::Well,
        RolloutPhase::Progressing
        | RolloutPhase::Soaking
        | RolloutPhase::Paused
        | RolloutPhase::AwaitingApproval
        | RolloutPhase::AwaitingWindow
        | RolloutPhase::AwaitingRestart
        | RolloutPhase::Removing => Verdict::UnderWay,
    }
}

fn waits(shim: &WasmShim, seen: bool) -> Option<Waits> {
    let status = shim.status.as_ref();
    let soak = status.and_then(|it| it.wave.as_ref()).and_then(|wave| wave.soak_until.clone());
    match status.map(|it| it.phase).unwrap_or_default() {
        _ if !seen => Some(Waits::Operator),
        RolloutPhase::Paused => Some(Waits::Resume),
        RolloutPhase::AwaitingApproval => Some(Waits::Approval),
        RolloutPhase::AwaitingWindow => Some(Waits::Window(windows(shim))),
        RolloutPhase::Soaking => soak.map(Waits::Soak),
        RolloutPhase::AwaitingRestart => status.map(|it| Waits::Restart(it.nodes.pending_restart)),
        RolloutPhase::Refused => {
            let said = status.and_then(|it| it.conditions.iter().find(|it| it.type_ == "Accepted"));
            said.map(|it| Waits::Accepted(it.message.clone()))
        }
        RolloutPhase::Removing
        | RolloutPhase::Progressing
        | RolloutPhase::Complete
        | RolloutPhase::RolledBack => {
            status.filter(|it| !it.waits.is_empty()).map(|it| Waits::Nodes(it.waits.clone()))
        }
    }
}

fn windows(shim: &WasmShim) -> Vec<String> {
    let text = |it: &crd::Window| format!("{} for {} ({})", it.cron, it.duration, it.time_zone);
    shim.spec.rollout.windows.iter().map(text).collect()
}

/// A `WasmShim` and what follows from it, for its nodes.
struct About<'a> {
    shim: &'a WasmShim,
    target: &'a str,
    rejected: bool,
}

impl About<'_> {
    fn node(&self, member: &Member<'_>) -> Node {
        let status = member.object.and_then(|it| it.status.as_ref());
        let seen = status.and_then(|it| it.observed.as_ref());
        let runtime = status.and_then(|it| it.runtime.as_ref());
        let wave = member.object.map(|it| it.spec.wave.clone()).filter(|it| !it.is_empty());
        Node {
            name: member.name.to_string(),
            phase: phase(member),
            settled: self.settled(member),
            revision: status
                .and_then(|it| it.installed.as_ref())
                .map(|installed| installed.revision.clone()),
            proved_at: seen.filter(|seen| seen.proved).map(|seen| seen.at.clone()),
            runtime: runtime.map(|it| format!("{} {}", it.name, it.version)),
            wave,
            message: status.map(|it| it.message.clone()).unwrap_or_default(),
            findings: findings(status.map(|it| it.findings.clone()).unwrap_or_default()),
        }
    }

    fn settled(&self, member: &Member<'_>) -> bool {
        let Some(object) = member.object else { return false };
        let Some(seen) = object.status.as_ref().and_then(|it| it.observed.as_ref()) else {
            return false;
        };
        let right = seen.revision == self.target || self.rejected;
        let good = match self.shim.spec.mode {
            Mode::Plan => seen.outcome == Outcome::Planned,
            Mode::Managed | Mode::VerifyOnly => seen.outcome == Outcome::Ready,
        };
        member.selected && right && good && !disrupted(object)
    }

    /// Only while the target goes by them.
    fn waves(&self, members: &[Member<'_>]) -> Vec<Wave> {
        let status = self.shim.status.clone().unwrap_or_default();
        let Some(current) = status.wave else { return Vec::new() };
        let waves = &self.shim.spec.rollout.waves;
        let index = |member: &&Member<'_>| {
            let object = member.object.filter(|it| it.spec.revision == self.target)?;
            waves.iter().position(|wave| wave.name == object.spec.wave)
        };
        let mut reach = 0;
        let of = |(at, wave): (usize, &crd::Wave)| {
            reach = wave.nodes.reach(status.nodes.desired as usize).max(reach);
            let is_current = at == current.index as usize;
            let within = || members.iter().filter(|it| index(it).is_some_and(|it| it <= at));
            Wave {
                name: wave.name.clone(),
                nodes: if is_current { current.nodes as usize } else { reach },
                ready: within().filter(|member| self.settled(member)).count(),
                failed: within().filter(|member| phase(member).bad()).count(),
                current: is_current,
            }
        };
        waves.iter().enumerate().map(of).collect()
    }
}

/// What is worst comes first.
fn findings(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// The order that was given and not yet heard of.
fn under_way(object: &NodeShim) -> Option<Action> {
    let seen = object.status.as_ref().and_then(|it| it.observed.as_ref());
    (object.spec.attempt > seen.map_or(0, |seen| seen.attempt)).then_some(object.spec.action)
}

fn disrupted(object: &NodeShim) -> bool {
    under_way(object).is_some_and(Action::disrupts)
}

fn phase(member: &Member<'_>) -> NodePhase {
    let Some(object) = member.object else {
        return NodePhase::Idle(if member.held { Idle::Held } else { Idle::Waiting });
    };
    match under_way(object) {
        Some(Action::Install) => NodePhase::Work(Work::Installing),
        Some(Action::Verify) => NodePhase::Work(Work::Verifying),
        Some(Action::Remove) => NodePhase::Work(Work::Removing),
        Some(Action::Plan) => NodePhase::Work(Work::Planning),
        None => NodePhase::Settled(object.status.as_ref().map(|it| it.phase).unwrap_or_default()),
    }
}

/// Whether somebody must approve the target before it goes anywhere.
pub(crate) fn needs_approval(shim: &WasmShim, target: &str) -> bool {
    let good = shim.status.as_ref().and_then(|it| it.last_good_revision.as_deref());
    shim.spec.rollout.approval == Approval::Manual && good != Some(target)
}

/// How long ago, as Kubernetes tells ages.
pub(crate) fn age(now: Timestamp, then: &Time) -> String {
    match now.duration_since(then.0).as_secs() {
        ..0 => "0s".into(),
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
