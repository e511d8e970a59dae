//! What would change on which nodes: nodes that are alike are told once.

use serde::Serialize;
use wherry_operator_core::crd::{
    self, Action, Mode, NodeShim, OnFailure, RevisionSpec, WasmShim, revision_of,
};
use wherry_report::{Finding, Method, Outcome, RestartPolicy};

use crate::cluster::{Cluster, Member};
use crate::text::one_line;
use crate::view::name;

/// Names of nodes in a group that are told unless all are asked for.
const NAMES: usize = 8;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diff {
    pub(crate) shim: String,
    /// What nodes are to have: the target, or what it goes back to.
    pub(crate) wanted: String,
    pub(crate) target_revision: String,
    pub(crate) paused: bool,
    pub(crate) same: usize,
    pub(crate) groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) nodes: Vec<String>,
    #[serde(flatten)]
    pub(crate) change: Change,
}

/// What would become of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(crate) has: Option<String>,
    pub(crate) does: Does,
    /// Lines for people: the image, and handlers.
    pub(crate) spec: Vec<String>,
    pub(crate) restart: Restart,
    /// What the node's agent said it would write.
    pub(crate) planned: String,
    pub(crate) findings: Vec<Finding>,
    /// What the node's last order came to, if not to what was wanted.
    pub(crate) last: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Does {
    Install,
    Remove,
    /// It has the revision, and is not as it should be.
    Repair,
    /// Its administrator keeps everything from it.
    Held,
    /// It cannot be changed from here.
    Unsupported,
    /// It keeps what it has.
    Nothing,
}

/// Of containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Restart {
    No,
    Yes,
    /// Not by us.
    ByOthers,
    AtNextBoot,
}

pub(crate) fn diffs(cluster: &Cluster, only: Option<&str>) -> Vec<Diff> {
    let named = |shim: &&WasmShim| only.is_none_or(|only| name(shim) == only);
    let mut all: Vec<Diff> =
        cluster.shims.iter().filter(named).map(|shim| diff(cluster, shim)).collect();
    all.sort_by(|a, b| a.shim.cmp(&b.shim));
    all
}

fn diff(cluster: &Cluster, shim: &WasmShim) -> Diff {
    let (target, spec) = revision_of(name(shim), &shim.spec);
    let status = shim.status.clone().unwrap_or_default();
    let rejected = status.rejected.is_some_and(|it| it.revision == target);
    let good = status.last_good_revision.filter(|_| rejected);
    let wanted = good.unwrap_or_else(|| target.clone());
    let spec = match cluster.revision(&wanted) {
        Some(revision) if wanted != target => revision.spec.clone(),
        _ => spec,
    };
    let about = About { cluster, shim, target: &target, rejected, wanted: &wanted, spec };
    let (mut groups, mut same): (Vec<Group>, usize) = (Vec::new(), 0);
    for member in cluster.nodes(shim) {
        let change = about.change(&member);
        if change.does == Does::Nothing && change.findings.is_empty() {
            same += 1;
            continue;
        }
        match groups.iter_mut().find(|group| group.change == change) {
            Some(group) => group.nodes.push(member.name.to_string()),
            None => groups.push(Group { nodes: vec![member.name.to_string()], change }),
        }
    }
    let paused = shim.spec.rollout.pace == crd::Pace::Paused;
    Diff { shim: name(shim).into(), paused, same, groups, target_revision: target, wanted }
}

struct About<'a> {
    cluster: &'a Cluster,
    shim: &'a WasmShim,
    target: &'a str,
    rejected: bool,
    /// What nodes are to have.
    wanted: &'a str,
    spec: RevisionSpec,
}

impl About<'_> {
    fn change(&self, member: &Member<'_>) -> Change {
        let status = member.object.and_then(|it| it.status.clone()).unwrap_or_default();
        let installed = status.installed.as_ref();
        let has = installed.map(|it| it.revision.clone());
        let does = self.does(member, has.as_deref());
        let before = has.as_deref().and_then(|it| self.cluster.revision(it)).map(|it| &it.spec);
        let installs = matches!(does, Does::Install | Does::Repair);
        let external = installed.is_some_and(|it| it.method == Method::External);
        let same_handlers = before.is_some_and(|it| it.handlers == self.spec.handlers);
        let quiet = match does {
            Does::Install => same_handlers || external,
            Does::Remove => external || has.is_none(),
            // What drifted may be a binary or the configuration; the agent restarts if bytes differ.
            Does::Repair => status.diff.is_empty() && same_handlers,
            Does::Held | Does::Unsupported | Does::Nothing => true,
        };
        let seen = status.observed.as_ref();
        let planned = seen.is_some_and(|seen| {
            seen.action == Action::Plan && seen.revision == self.wanted && installs
        });
        let failed = seen.filter(|seen| {
            !matches!(seen.outcome, Outcome::Ready | Outcome::Planned | Outcome::Removed)
        });
        let last = failed.map(|seen| {
            let said = &status.message;
            format!("{:?} of {} came to {:?}: {said}", seen.action, seen.revision, seen.outcome)
        });
        let mut findings = status.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Change {
            does,
            spec: if installs { self.lines(before) } else { Vec::new() },
            restart: if quiet { Restart::No } else { self.restart() },
            planned: if planned { status.diff } else { String::new() },
            findings,
            last,
            has,
        }
    }

    fn does(&self, member: &Member<'_>, has: Option<&str>) -> Does {
        let seen = member
            .object
            .and_then(|it: &NodeShim| it.status.as_ref())
            .and_then(|it| it.observed.as_ref());
        let outcome = seen.map(|seen| seen.outcome);
        let deleted = self.shim.metadata.deletion_timestamp.is_some();
        if deleted || !member.selected {
            return if has.is_some() { Does::Remove } else { Does::Nothing };
        }
        let right = has == Some(self.wanted) && outcome == Some(Outcome::Ready);
        let verified = self.shim.spec.mode == Mode::VerifyOnly && outcome == Some(Outcome::Ready);
        // What was rejected stays where it works, unless all are to go back.
        let stays = self.rejected && self.stays(has, outcome);
        match outcome {
            _ if right || verified || stays => Does::Nothing,
            _ if member.held => Does::Held,
            Some(Outcome::Unsupported) => Does::Unsupported,
            // A plan of what is there already changes nothing.
            Some(Outcome::Planned) if has == Some(self.wanted) => Does::Nothing,
            _ if has == Some(self.wanted) => Does::Repair,
            _ => Does::Install,
        }
    }

    fn stays(&self, has: Option<&str>, outcome: Option<Outcome>) -> bool {
        let all = self.shim.metadata.annotations.as_ref();
        let given_up =
            all.and_then(|all| all.get(crd::GIVEN_UP)).is_some_and(|it| it == self.target);
        match self.shim.spec.rollout.on_failure {
            _ if self.wanted == self.target => true,
            OnFailure::RollbackAll => false,
            _ if given_up => false,
            OnFailure::Pause => true,
            OnFailure::RollbackFailed => {
                has == Some(self.target) && outcome == Some(Outcome::Ready)
            }
        }
    }

    fn restart(&self) -> Restart {
        match self.shim.spec.restart.policy {
            RestartPolicy::Auto => Restart::Yes,
            RestartPolicy::Never => Restart::ByOthers,
            RestartPolicy::OnNextBoot => Restart::AtNextBoot,
        }
    }

    fn lines(&self, before: Option<&RevisionSpec>) -> Vec<String> {
        let mut lines = Vec::new();
        if before.is_none_or(|before| before.image != self.spec.image) {
            lines.extend(before.map(|before| format!("- image {}", before.image)));
            lines.push(format!("+ image {}", self.spec.image));
        }
        let old = before.map(|it| it.handlers.as_slice()).unwrap_or_default();
        let text = |mark: &str, it: &wherry_report::Handler| {
            let options = it.options.trim().replace('\n', "; ");
            let options = if options.is_empty() { String::new() } else { format!(" ({options})") };
            format!("{mark} handler {}{options}", it.name)
        };
        lines.extend(
            old.iter().filter(|it| !self.spec.handlers.contains(it)).map(|it| text("-", it)),
        );
        lines.extend(
            self.spec.handlers.iter().filter(|it| !old.contains(it)).map(|it| text("+", it)),
        );
        lines
    }
}

/// Nothing would be done.
pub(crate) fn none(diffs: &[Diff]) -> bool {
    let idle =
        |group: &Group| matches!(group.change.does, Does::Nothing | Does::Held | Does::Unsupported);
    diffs.iter().all(|diff| diff.groups.iter().all(idle))
}

pub(crate) fn text(diffs: &[Diff], all: bool) -> String {
    if diffs.is_empty() {
        return "There is no WasmShim.\n".into();
    }
    let mut lines = Vec::new();
    for diff in diffs {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let back = match diff.wanted == diff.target_revision {
            true => String::new(),
            false => format!(" ({} is rolled back)", diff.target_revision),
        };
        let pause = if diff.paused { "; paused" } else { "" };
        lines.push(format!("{}: {}{back}; {} as wanted{pause}", diff.shim, diff.wanted, diff.same));
        for group in &diff.groups {
            lines.push(String::new());
            lines.extend(group_lines(group, &diff.wanted, all));
        }
    }
    lines.iter().map(|line| line.clone() + "\n").collect()
}

fn group_lines(group: &Group, wanted: &str, all: bool) -> Vec<String> {
    let change = &group.change;
    let count = group.nodes.len();
    let told = if all { count } else { count.min(NAMES) };
    let mut names = group.nodes[..told].join(", ");
    if told < count {
        names += &format!(" and {} more", count - told);
    }
    let word = if count == 1 { "node" } else { "nodes" };
    let has = change.has.as_deref().unwrap_or("nothing");
    let does = match change.does {
        Does::Install => format!("{has} -> {wanted}"),
        Does::Remove => format!("{has} -> nothing"),
        Does::Repair => format!("{has} is repaired"),
        Does::Held => format!("held with {has}"),
        Does::Unsupported => format!("unsupported, with {has}"),
        Does::Nothing => format!("keeps {has}"),
    };
    let mut lines = vec![format!("{count} {word}: {names}"), format!("  {does}")];
    lines.extend(change.spec.iter().map(|line| format!("  {line}")));
    let restart = match change.restart {
        Restart::No => "containerd is not restarted",
        Restart::Yes => "containerd is restarted",
        Restart::ByOthers => "containerd is to be restarted by others",
        Restart::AtNextBoot => "in effect from the node's next boot on",
    };
    if matches!(change.does, Does::Install | Does::Remove | Does::Repair) {
        lines.push(format!("  {restart}"));
    }
    lines.extend(change.last.iter().map(|last| one_line(&format!("  last: {last}"))));
    let finding =
        |it: &Finding| one_line(&format!("  {:?} {}: {}", it.severity, it.code, it.message));
    lines.extend(change.findings.iter().map(finding));
    lines.extend(change.planned.lines().map(|line| format!("  | {line}")));
    lines
}
