//! The decisions, each of one kind, over all nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use wherry_report::{Outcome, WhenInUse};

use crate::crd::{
    self, APPROVED, Approval, DriftAction, GIVEN_UP, Mode, OnFailure, Pace, Period, RETRY,
    Rejected, Retry, Rollout, WasmShim, WasmShimStatus, revision_of,
};

use super::node::{Node, failed, retry_at};
use super::room::{Room, Urgency};
use super::{Action, Fleet, rolls_all_back};

#[derive(Debug)]
pub(super) struct View<'a> {
    fleet: &'a Fleet<'a>,
    /// The revision that the spec asks for.
    pub(super) target: String,
    /// The status as it is.
    was: WasmShimStatus,
    /// The administrator's wish to try once more, and since when it is known.
    pub(super) retry: Option<Retry>,
}

impl<'a> View<'a> {
    pub(super) fn new(fleet: &'a Fleet<'a>) -> View<'a> {
        let name = fleet.shim.metadata.name.as_deref().unwrap_or_default();
        let (target, _) = revision_of(name, &fleet.shim.spec);
        let was = fleet.shim.status.clone().unwrap_or_default();
        let mut view = View { fleet, target, was, retry: None };
        view.retry = view.wish_to_retry();
        view
    }

    pub(super) fn shim(&self) -> &WasmShim {
        self.fleet.shim
    }

    pub(super) fn nodes(&self) -> &[Node] {
        self.fleet.nodes
    }

    pub(super) fn now(&self) -> Timestamp {
        self.fleet.now
    }

    pub(super) fn was(&self) -> &WasmShimStatus {
        &self.was
    }

    pub(super) fn spec(&self) -> &Rollout {
        &self.shim().spec.rollout
    }

    pub(super) fn mode(&self) -> Mode {
        self.shim().spec.mode
    }

    pub(super) fn paused(&self) -> bool {
        self.spec().pace == Pace::Paused
    }

    pub(super) fn deleting(&self) -> bool {
        self.shim().metadata.deletion_timestamp.is_some()
    }

    pub(super) fn wanted(&self, node: &Node) -> bool {
        node.selected && !self.deleting()
    }

    pub(super) fn annotation(&self, key: &str) -> &str {
        let all = self.shim().metadata.annotations.as_ref();
        all.and_then(|all| all.get(key)).map_or("", String::as_str)
    }

    /// A target that was good once needs no approval, no waves and has no budget: nodes only join it.
    pub(super) fn established(&self) -> bool {
        self.was.last_good_revision.as_ref() == Some(&self.target)
    }

    pub(super) fn approved(&self) -> bool {
        match self.spec().approval {
            Approval::Automatic => true,
            Approval::Manual => self.established() || self.annotation(APPROVED) == self.target,
        }
    }

    /// Its administrator wants nothing of the target any more.
    pub(super) fn given_up(&self) -> bool {
        self.annotation(GIVEN_UP) == self.target
    }

    /// Nothing of ours is on the node, or nobody can tell.
    pub(super) fn clean(&self, node: &Node) -> bool {
        let Some(last) = &node.decided else { return true };
        let removed = node.known().is_some_and(|seen| seen.outcome == Outcome::Removed);
        let removed = removed || (last.only_looked_at && !node.proved);
        let deadline = after(node.ready_since, self.spec().progress_deadline);
        let lost = !node.ready && self.now() >= deadline;
        (removed && node.under_way().is_none()) || lost
    }

    /// What follows from what is known, whatever else is decided.
    pub(super) fn follow_up(&self, node: &Node, actions: &mut Vec<Action>) {
        let name = || node.name.clone();
        if node.under_way().is_some() {
            actions.push(Action::Job { node: name() });
        }
        if node.held {
            return;
        }
        let proved = self.wanted(node) && node.known().is_some_and(|seen| seen.proved);
        match (proved, node.proved) {
            (true, false) => actions.push(Action::Prove { node: name() }),
            (false, true) => actions.push(Action::Disprove { node: name() }),
            (true, true) | (false, false) => {}
        }
        if self.wanted(node) || node.under_way().is_some() {
            return;
        }
        let only_looked_at = node.decided.as_ref().is_some_and(|last| last.only_looked_at);
        match node.known().map(|seen| seen.outcome) {
            _ if only_looked_at && !node.proved => actions.push(Action::Forget { node: name() }),
            Some(Outcome::Removed) if !node.proved => actions.push(Action::Forget { node: name() }),
            Some(Outcome::InUse) if self.when_in_use() == WhenInUse::Drain => {
                actions.push(Action::Evict { node: name() });
            }
            _ => {}
        }
    }

    fn when_in_use(&self) -> WhenInUse {
        self.shim().spec.uninstall.when_in_use
    }

    /// Nodes that are not wanted any more. First no pod comes there, then the shim goes.
    pub(super) fn removals(&self, room: &mut Room, actions: &mut Vec<Action>) {
        let left = |node: &&Node| !self.wanted(node) && !node.proved && !self.clean(node);
        for node in self.nodes().iter().filter(left) {
            // Where this one never changed anything, what there is is another's.
            let Some(last) = node.decided.as_ref().filter(|last| !last.only_looked_at) else {
                continue;
            };
            let wait = node.known().filter(|_| last.action == crd::Action::Remove);
            if wait.is_none_or(|seen| self.now() >= retry_at(seen)) {
                let revision = self.remover(node, &last.revision);
                room.order(node, (crd::Action::Remove, revision, ""), Urgency::InWindow, actions);
            }
        }
    }

    /// Whose agent takes the shim off: that of the revision which runs there, as its image is there. If one could not be
    /// had the next is tried.
    fn remover<'n>(&'n self, node: &'n Node, last: &'n str) -> &'n str {
        let good = self.was.last_good_revision.as_deref();
        let mut all = vec![last];
        all.splice(0..0, node.installed.as_deref());
        all.extend(good.into_iter().chain([self.target.as_str()]));
        let mut named = BTreeSet::new();
        all.retain(|revision| named.insert(*revision));
        let failed = node.known().filter(|it| it.action == crd::Action::Remove && it.never_ran);
        let at = failed.and_then(|seen| all.iter().position(|one| *one == seen.revision));
        all[at.map_or(0, |at| (at + 1) % all.len())]
    }

    /// Where nothing is changed: each node once for each revision, and again where it may have changed.
    pub(super) fn looks(&self, action: crd::Action, room: &mut Room, actions: &mut Vec<Action>) {
        for node in self.nodes().iter().filter(|node| self.wanted(node)) {
            let due = node.known_of(&self.target).is_none_or(|seen| {
                let again = match failed(seen.outcome) {
                    true => self.now() >= retry_at(seen),
                    false => self.now() >= self.verify_at(node, seen),
                };
                seen.action != action || node.changed(seen) || again
            });
            if due {
                room.order(node, (action, &self.target, ""), Urgency::InWindow, actions);
            }
        }
    }

    /// Nodes that have their revision are looked at now and then, and made as they were: one of the two.
    pub(super) fn upkeep(&self, kind: crd::Action, room: &mut Room, actions: &mut Vec<Action>) {
        let due = self.members().filter(|node| self.waits_for_another_try(node));
        let first = due.map(|node| self.wave_of(node)).min();
        for node in self.nodes().iter().filter(|node| self.wanted(node)) {
            let (Some(last), Some(seen)) = (&node.decided, node.known()) else { continue };
            // Nobody installs what others are still to get by waves, or what was rejected.
            let own = seen.revision == last.revision && last.action != crd::Action::Plan;
            let stays =
                seen.revision == self.target && (!last.wave.is_empty() || self.established());
            let older = Some(&seen.revision) == self.was.last_good_revision.as_ref();
            if !own || !(stays || older) {
                continue;
            }
            // Wave by wave, as they were tried before.
            let is_early =
                self.is_due_again(seen) && first.is_some_and(|it| self.wave_of(node) > it);
            if is_early {
                continue;
            }
            if let Some(action) = self.mend(node, seen).filter(|action| *action == kind) {
                let order = (action, seen.revision.as_str(), last.wave.as_str());
                room.order(node, order, Urgency::InWindow, actions);
            }
        }
    }

    /// What a settled node needs to be, or to be known to be, as wanted.
    fn mend(&self, node: &Node, seen: &crd::Observation) -> Option<crd::Action> {
        use crd::Action::{Install, Verify};
        let changed = node.changed(seen);
        let due = self.now() >= self.verify_at(node, seen);
        let repair = self.shim().spec.drift.action == DriftAction::Repair;
        let rejected = self.was.rejected.as_ref().is_some_and(|it| it.revision == seen.revision);
        match seen.outcome {
            Outcome::Ready => (changed || due).then_some(Verify),
            // What was rejected may stay where it runs, and is not brought anywhere again.
            _ if rejected => None,
            Outcome::PendingRestart => (changed || due).then_some(Install),
            Outcome::Drifted if repair => Some(Install),
            Outcome::Drifted => (changed || due).then_some(Verify),
            Outcome::Unsupported => changed.then_some(Install),
            Outcome::Failed | Outcome::Reverted => {
                (self.is_due_again(seen) || self.now() >= retry_at(seen)).then_some(seen.action)
            }
            // It was let go of, or only asked, and is wanted now.
            Outcome::Removed | Outcome::Planned | Outcome::InUse => Some(Install),
        }
    }

    /// Nodes are looked at one after the other, not all together.
    fn verify_at(&self, node: &Node, seen: &crd::Observation) -> Timestamp {
        let interval = self.shim().spec.drift.verify_interval;
        let spread =
            node.name.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        let later = Duration::from(interval).as_secs() / 10 * (spread % 100) / 100;
        after(after(seen.at.0, interval), Duration::from_secs(later).into())
    }

    fn wish_to_retry(&self) -> Option<Retry> {
        let value = self.annotation(RETRY);
        match &self.was.retry {
            Some(was) if was.value == value || value.is_empty() => Some(was.clone()),
            None if value.is_empty() => None,
            _ => Some(Retry { value: value.to_string(), since: Time(self.now()) }),
        }
    }

    /// The rejection is in the object's status.
    pub(super) fn knows(&self, rejected: &Rejected) -> bool {
        self.was.rejected.as_ref() == Some(rejected)
    }

    /// Back to what was good, for the nodes that are to go there, and for new ones.
    pub(super) fn rollback(&self, room: &mut Room, actions: &mut Vec<Action>) {
        let Some(good) = &self.was.last_good_revision else { return };
        let stays = self.spec().on_failure == OnFailure::Pause && !self.given_up();
        if self.deleting() || stays || *good == self.target {
            return;
        }
        let all = rolls_all_back(self.spec().on_failure);
        for node in self.nodes().iter().filter(|node| self.wanted(node)) {
            use Outcome::{Drifted, InUse, Planned, Removed};
            let useless =
                |outcome| failed(outcome) || [Drifted, InUse, Planned, Removed].contains(&outcome);
            // Of the target, or of one before it that was not good either.
            let bad = node.known().is_some_and(|seen| useless(seen.outcome));
            let new = node.known().is_none();
            let decided = |revision: &str| {
                node.decided.as_ref().is_some_and(|last| last.revision == revision)
            };
            let back =
                (all && node.started(&self.target)) || (self.given_up() && decided(&self.target));
            if (bad || new || back) && (new || !decided(good)) {
                let order = (crd::Action::Install, good.as_str(), "");
                room.order(node, order, Urgency::Now, actions);
            }
        }
    }
}

pub(super) fn after(time: Timestamp, period: Period) -> Timestamp {
    let length = SignedDuration::try_from(Duration::from(period)).unwrap_or(SignedDuration::MAX);
    time.saturating_add(length).unwrap_or(Timestamp::MAX)
}
