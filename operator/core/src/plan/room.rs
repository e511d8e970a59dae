//! How many orders may be given now.

use std::collections::{HashMap, HashSet};

use crate::crd;

use super::fleet::View;
use super::node::Node;
use super::{Action, Order};

#[derive(Debug)]
pub(super) struct Room {
    /// Of nodes that are changed.
    nodes: usize,
    /// Of agents.
    agents: usize,
    /// Of each domain; without an entry there is no limit.
    domains: HashMap<String, usize>,
    open: bool,
    /// Nodes that have an order of this plan.
    ordered: HashSet<String>,
}

/// Whether windows matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    InWindow,
    /// Nodes without what they had are worse than nodes that are changed by day.
    Now,
}

impl Room {
    pub(super) fn new(view: &View<'_>, open: bool) -> Room {
        let rollout = &view.shim().spec.rollout;
        let selected = view.nodes().iter().filter(|node| node.selected).count();
        // Who leaves for good does not wait for the nodes that are lost.
        let counts = !view.deleting();
        let lost = |node: &&Node| node.disrupted() || (counts && node.selected && !node.ready);
        let under_way = view.nodes().iter().filter(|node| node.under_way().is_some()).count();
        let unavailable = view.nodes().iter().filter(lost).count();
        let mut domains = HashMap::new();
        if let Some(spread) = &rollout.spread {
            let mut sizes: HashMap<&str, (usize, usize)> = HashMap::new();
            for node in view.nodes() {
                let (size, busy) = sizes.entry(&node.domain).or_default();
                *size += 1;
                *busy += usize::from(node.disrupted());
            }
            let left = |(name, (size, busy)): (&str, (usize, usize))| {
                (name.to_string(), spread.max_per_domain.of(size).saturating_sub(busy))
            };
            domains = sizes.into_iter().map(left).collect();
        }
        Room {
            nodes: rollout.max_unavailable.of(selected).saturating_sub(unavailable),
            agents: (rollout.max_parallel as usize).saturating_sub(under_way),
            domains,
            open,
            ordered: HashSet::new(),
        }
    }

    /// Gives the order if there is room for it.
    pub(super) fn order(
        &mut self,
        node: &Node,
        (action, revision, wave): (crd::Action, &str, &str),
        urgency: Urgency,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.take(node, action, urgency) {
            return false;
        }
        let order = Order {
            attempt: node.next_attempt(),
            action,
            revision: revision.to_string(),
            wave: wave.to_string(),
        };
        actions.push(Action::Order { node: node.name.clone(), order });
        true
    }

    fn take(&mut self, node: &Node, action: crd::Action, urgency: Urgency) -> bool {
        let busy = node.under_way().is_some() || self.ordered.contains(&node.name);
        if node.held || !node.ready || busy || self.agents == 0 {
            return false;
        }
        if action.disrupts() {
            let closed = !self.open && urgency == Urgency::InWindow;
            let mut none = 0;
            let domain = match self.domains.is_empty() {
                true => None,
                false => Some(self.domains.get_mut(&node.domain).unwrap_or(&mut none)),
            };
            if closed || self.nodes == 0 || domain.as_deref() == Some(&0) {
                return false;
            }
            self.nodes -= 1;
            if let Some(left) = domain {
                *left -= 1;
            }
        }
        self.agents -= 1;
        self.ordered.insert(node.name.clone());
        true
    }
}
