//! One node, as far as decisions go.

use jiff::{SignedDuration, Timestamp};
use wherry_report::Outcome;

use crate::crd::{self, Observation};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub uid: String,
    /// The `WasmShim` wants it.
    pub selected: bool,
    /// Its kubelet says that it is fit for pods.
    pub ready: bool,
    /// When that last changed.
    pub ready_since: Timestamp,
    /// Its administrator wants nothing done to it.
    pub held: bool,
    /// Its value of the label by which orders are spread.
    pub domain: String,
    /// It has the label of a proved node.
    pub proved: bool,
    pub boot_id: String,
    pub machine_id: String,
    pub runtime_version: String,
    /// Since when its runtime does not tell a handler of the `WasmShim` that it told before.
    pub handlers_lost: Option<Timestamp>,
    pub decided: Option<Decided>,
    pub observed: Option<Observation>,
    /// The revision that is on it, by its agent's last word.
    pub installed: Option<String>,
}

/// The last order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub attempt: u32,
    pub action: crd::Action,
    pub revision: String,
    pub wave: String,
    /// Neither this order nor one before it was to change the node and ran: nothing of this `WasmShim` can be there.
    pub only_looked_at: bool,
}

/// The first wait after a failure; each further one is twice as long.
const RETRY_FIRST: SignedDuration = SignedDuration::from_mins(2);
const RETRY_LAST: SignedDuration = SignedDuration::from_hours(1);
/// Containers come and go faster than nodes mend.
const IN_USE: SignedDuration = SignedDuration::from_secs(30);

impl Node {
    /// The order that was given and not yet heard of.
    pub(super) fn under_way(&self) -> Option<&Decided> {
        let settled = self.observed.as_ref().map_or(0, |seen| seen.attempt);
        self.decided.as_ref().filter(|decided| decided.attempt > settled)
    }

    pub(super) fn disrupted(&self) -> bool {
        self.under_way().is_some_and(|decided| decided.action.disrupts())
    }

    /// What was observed of this very machine: one that was set up anew knows nothing of it.
    pub(super) fn known(&self) -> Option<&Observation> {
        let same =
            |seen: &&Observation| seen.node_uid == self.uid && seen.machine_id == self.machine_id;
        self.observed.as_ref().filter(same)
    }

    /// As [`Node::known`], if it was of this revision.
    pub(super) fn known_of(&self, revision: &str) -> Option<&Observation> {
        self.known().filter(|seen| seen.revision == revision)
    }

    /// It was booted, its runtime replaced, or our handler taken away, since it was last looked at.
    pub(super) fn changed(&self, seen: &Observation) -> bool {
        seen.boot_id != self.boot_id
            || seen.runtime_version != self.runtime_version
            || self.handlers_lost.is_some_and(|since| since > seen.at.0)
    }

    /// An order for this revision was given in a wave of its rollout.
    pub(super) fn started(&self, revision: &str) -> bool {
        let of_wave = |last: &Decided| last.revision == revision && !last.wave.is_empty();
        self.decided.as_ref().is_some_and(of_wave)
            && (self.under_way().is_some() || self.known_of(revision).is_some())
    }

    pub(super) fn next_attempt(&self) -> u32 {
        self.decided.as_ref().map_or(0, |last| last.attempt) + 1
    }
}

pub(super) fn failed(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Failed | Outcome::Reverted => true,
        Outcome::Ready
        | Outcome::PendingRestart
        | Outcome::Removed
        | Outcome::Planned
        | Outcome::Drifted
        | Outcome::Unsupported
        | Outcome::InUse => false,
    }
}

/// When an order that did not succeed may be given again.
pub(super) fn retry_at(seen: &Observation) -> Timestamp {
    let wait = match seen.outcome {
        Outcome::InUse => IN_USE,
        _ => {
            let doubled = 1 << seen.failures.saturating_sub(1).min(10);
            (RETRY_FIRST * doubled).min(RETRY_LAST)
        }
    };
    seen.at.0.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
