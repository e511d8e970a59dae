//! How far a rollout has come: which nodes count, which wave is over, and when the target is given up.

use jiff::Timestamp;

use crate::crd::{self, Mode, Rejected};

use super::Action;
use super::fleet::{View, after};
use super::node::{Node, failed};
use super::room::{Room, Urgency};

/// Where a rollout is.
#[derive(Debug)]
pub(super) struct Stage {
    /// The first wave that is not over; behind the last one, if all are.
    pub(super) wave: usize,
    /// How many nodes it and those before it are to have.
    pub(super) reach: usize,
    /// All its nodes are settled, and it is watched until then.
    pub(super) soak_until: Option<Timestamp>,
}

impl View<'_> {
    /// Nodes that a rollout is for: those which can be ordered to do something, or were.
    pub(super) fn members(&self) -> impl Iterator<Item = &Node> {
        let member = |node: &&Node| {
            node.selected && (node.started(&self.target) || (node.ready && !node.held))
        };
        self.nodes().iter().filter(member)
    }

    /// It failed before the last wish to try once more, and has not been tried since.
    pub(super) fn is_due_again(&self, seen: &crd::Observation) -> bool {
        let since = self.retry.as_ref().map(|retry| retry.since.0);
        failed(seen.outcome) && since.is_some_and(|since| seen.at.0 <= since)
    }

    fn is_due(&self, node: &Node) -> bool {
        node.known_of(&self.target).is_some_and(|seen| self.is_due_again(seen))
    }

    /// What is known of a node since the target was brought there in this try: what was seen of it before, by a look
    /// that changed nothing, says nothing of it.
    fn tried<'n>(&self, node: &'n Node) -> Option<&'n crd::Observation> {
        let seen = node.known_of(&self.target).filter(|seen| !self.is_due_again(seen))?;
        let installs = node.under_way().is_some_and(|it| it.action == crd::Action::Install);
        let installed = match seen.action {
            crd::Action::Install => true,
            crd::Action::Verify => !installs,
            crd::Action::Plan | crd::Action::Remove => false,
        };
        installed.then_some(seen)
    }

    /// A node of an earlier try that nobody can reach now.
    fn is_out_of_reach(&self, node: &Node) -> bool {
        self.is_due(node) && node.under_way().is_none() && (node.held || !node.ready)
    }

    pub(super) fn waits_for_another_try(&self, node: &Node) -> bool {
        self.is_due(node) && node.started(&self.target) && !self.is_out_of_reach(node)
    }

    /// By its last order; the first one, if that wave is none any more.
    pub(super) fn wave_of(&self, node: &Node) -> usize {
        let name = node.decided.as_ref().map(|last| last.wave.as_str());
        self.spec().waves.iter().position(|wave| Some(wave.name.as_str()) == name).unwrap_or(0)
    }

    pub(super) fn stage(&self) -> Stage {
        let waves = &self.spec().waves;
        let total = self.members().count();
        let started: Vec<&Node> = self.members().filter(|it| it.started(&self.target)).collect();
        let seen = || started.iter().filter_map(|node| self.tried(node));
        let ran = || seen().filter(|seen| !seen.never_ran);
        // A wave may be over without a few nodes that let no agent in, and never without all of them.
        let away = started.iter().filter(|node| self.is_out_of_reach(node)).count();
        let absent = seen().count() - ran().count() + away;
        let few = absent == 0
            || (ran().next().is_some() && absent <= self.spec().failure_budget.of(started.len()));
        let settled = seen().count() + away == started.len() && few;
        let last = ran().map(|seen| seen.at.0).max();
        // A wave with nodes is behind all others: that a canary is looked at again does not call it back.
        let begun = started.iter().map(|node| self.wave_of(node)).max().unwrap_or(0);
        let mut reach = 0;
        for (wave, about) in waves.iter().enumerate() {
            reach = about.nodes.reach(total).max(reach);
            if wave < begun {
                continue;
            }
            let soak_until = last.map(|last| after(last, about.soak));
            let over = soak_until.is_none_or(|until| self.now() >= until);
            if started.len() < reach || !settled {
                return Stage { wave, reach, soak_until: None };
            }
            if !over {
                return Stage { wave, reach, soak_until };
            }
        }
        Stage { wave: waves.len(), reach, soak_until: None }
    }

    /// The rollout of the target, wave by wave.
    pub(super) fn rollout(&self, room: &mut Room, actions: &mut Vec<Action>) {
        if self.deleting() || !self.approved() {
            return;
        }
        let stage = self.stage();
        let waves = &self.spec().waves;
        let started = self.members().filter(|node| node.started(&self.target)).count();
        // Those that failed are the first to be tried once more.
        if self.members().any(|node| self.waits_for_another_try(node)) {
            return;
        }
        // Nodes that join later go with the last one.
        let (wave, mut left) = match waves.get(stage.wave) {
            Some(wave) if !self.established() => (wave, stage.reach.saturating_sub(started)),
            _ => (&waves[waves.len() - 1], usize::MAX),
        };
        for node in self.members().filter(|node| !node.started(&self.target)) {
            let order = (crd::Action::Install, self.target.as_str(), wave.name.as_str());
            if left > 0 && room.order(node, order, Urgency::InWindow, actions) {
                left -= 1;
            }
        }
    }

    /// Why the target must not go any further, if so.
    pub(super) fn rejected(&self) -> Option<Rejected> {
        if self.given_up() && self.mode() == Mode::Managed {
            let message = "its administrator gave it up".to_string();
            return Some(Rejected { revision: self.target.clone(), message });
        }
        if let Some(was) = &self.was().rejected
            && was.revision == self.target
            && self.was().retry == self.retry
        {
            return Some(was.clone());
        }
        if self.established() || self.mode() != Mode::Managed {
            return None;
        }
        let spent = |wave: &crd::Wave| self.spent(&wave.name);
        let message = self.spec().waves.iter().find_map(spent)?;
        Some(Rejected { revision: self.target.clone(), message })
    }

    /// A wave is given up when more nodes failed than may, or not one succeeded.
    fn spent(&self, wave: &str) -> Option<String> {
        let of_wave = |node: &&Node| node.decided.as_ref().is_some_and(|last| last.wave == wave);
        let started = self.members().filter(|node| node.started(&self.target)).filter(of_wave);
        let nodes: Vec<&Node> = started.collect();
        let seen = nodes.iter().filter_map(|node| self.tried(node));
        let failures = seen.filter(|seen| failed(seen.outcome) && !seen.never_ran).count();
        let ran = nodes.iter().filter(|node| self.tried(node).is_none_or(|seen| !seen.never_ran));
        let nobody = failures > 0 && failures == ran.count();
        let budget = self.spec().failure_budget.of(nodes.len());
        (failures > budget || nobody)
            .then(|| format!("{failures} of {} nodes of the wave {wave:?} failed", nodes.len()))
    }
}
