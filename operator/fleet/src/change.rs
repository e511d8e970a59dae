//! What a person changes: one or two fields of a `WasmShim`, none of which the operator writes.

use jiff::Timestamp;
use serde_json::{Value, json};
use wherry_operator_core::crd::{
    APPROVED, Approval, GIVEN_UP, Mode, Pace, RETRY, WasmShim, revision_of,
};

use crate::args::Verb;
use crate::cluster::Cluster;
use crate::view::{name, needs_approval};

/// Who writes these fields.
pub(crate) const FIELD_MANAGER: &str = "wherry-fleet";

/// A merge patch, and what it does in words. Without a patch it is so already.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) patch: Option<Value>,
    pub(crate) says: String,
}

/// Why something makes no sense here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} is being deleted")]
    Deleted(String),
    #[error("{shim} asks for no approval: spec.rollout.approval is Automatic")]
    NoApproval { shim: String },
    #[error("nothing of {shim} waits for approval: {target} was good before")]
    Good { shim: String, target: String },
    #[error("what waits for approval is {target}, not {revision}")]
    Other { target: String, revision: String },
    #[error("{target} was rolled back, so approval changes nothing: try it once more with retry")]
    Rejected { target: String },
    #[error("{shim} is in mode {mode:?}: nothing was changed that could be rolled back")]
    NotManaged { shim: String, mode: Mode },
    #[error(
        "there is no good revision of {shim} but {target}: \
         pause the rollout, or change spec.artifact.image"
    )]
    NoGood { shim: String, target: String },
    #[error("the last good revision {0} is not kept any more: change spec.artifact.image")]
    Gone(String),
    #[error(
        "{target} of {shim} was not rolled back; nodes that failed are tried again by themselves"
    )]
    NothingToRetry { shim: String, target: String },
}

pub(crate) fn decide(
    verb: &Verb,
    shim: &WasmShim,
    cluster: &Cluster,
    now: Timestamp,
) -> Result<Change, Refusal> {
    let about =
        About { shim, name: name(shim).into(), target: revision_of(name(shim), &shim.spec).0 };
    if shim.metadata.deletion_timestamp.is_some() && !matches!(verb, Verb::Pause | Verb::Resume) {
        return Err(Refusal::Deleted(about.name));
    }
    match verb {
        Verb::Pause => Ok(about.pace(Pace::Paused)),
        Verb::Resume => Ok(about.pace(Pace::Running)),
        Verb::Approve { revision } => about.approve(revision.as_deref()),
        Verb::Rollback => about.rollback(cluster),
        Verb::Retry => about.retry(now),
    }
}

struct About<'a> {
    shim: &'a WasmShim,
    name: String,
    target: String,
}

fn change(patch: Value, says: String) -> Change {
    Change { patch: Some(patch), says }
}

fn annotated(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

impl About<'_> {
    fn annotation(&self, key: &str) -> &str {
        let all = self.shim.metadata.annotations.as_ref();
        all.and_then(|all| all.get(key)).map_or("", String::as_str)
    }

    fn rejected(&self) -> bool {
        let rejected = self.shim.status.as_ref().and_then(|it| it.rejected.as_ref());
        self.given_up() || rejected.is_some_and(|it| it.revision == self.target)
    }

    fn given_up(&self) -> bool {
        self.annotation(GIVEN_UP) == self.target
    }

    fn paused(&self) -> bool {
        self.shim.spec.rollout.pace == Pace::Paused
    }

    fn pace(&self, pace: Pace) -> Change {
        let name = &self.name;
        let says = match pace {
            Pace::Paused => format!("{name} is paused: work that has begun ends, no other begins"),
            Pace::Running => format!("{name} goes on"),
        };
        if self.shim.spec.rollout.pace == pace {
            let word = if self.paused() { "is paused" } else { "is not paused" };
            return Change { patch: None, says: format!("{name} {word} already") };
        }
        change(json!({ "spec": { "rollout": { "pace": pace } } }), says)
    }

    fn approve(&self, revision: Option<&str>) -> Result<Change, Refusal> {
        let (shim, target) = (self.name.clone(), self.target.clone());
        if self.shim.spec.rollout.approval == Approval::Automatic {
            return Err(Refusal::NoApproval { shim });
        }
        if let Some(revision) = revision.filter(|it| *it != target) {
            return Err(Refusal::Other { target, revision: revision.into() });
        }
        if self.rejected() {
            return Err(Refusal::Rejected { target });
        }
        if !needs_approval(self.shim, &target) {
            return Err(Refusal::Good { shim, target });
        }
        if self.annotation(APPROVED) == target {
            return Ok(Change { patch: None, says: format!("{target} is approved already") });
        }
        let says = format!("{target} is approved: its first wave begins");
        Ok(change(annotated(APPROVED, &target), says))
    }

    /// Where it goes back to: a good revision that is not the target.
    fn rollback(&self, cluster: &Cluster) -> Result<Change, Refusal> {
        let (shim, target) = (self.name.clone(), self.target.clone());
        if self.shim.spec.mode != Mode::Managed {
            return Err(Refusal::NotManaged { shim, mode: self.shim.spec.mode });
        }
        let status = self.shim.status.clone().unwrap_or_default();
        let all = [status.last_good_revision, status.previous_good_revision];
        let Some(good) = all.into_iter().flatten().find(|it| *it != target) else {
            return Err(Refusal::NoGood { shim, target });
        };
        if cluster.revision(&good).is_none() {
            return Err(Refusal::Gone(good));
        }
        if self.given_up() && !self.paused() {
            let says = format!("{target} is given up already: nodes go back to {good}");
            return Ok(Change { patch: None, says });
        }
        let mut patch = annotated(GIVEN_UP, &target);
        let mut says = format!("{target} is given up: nodes that have it go back to {good}");
        if self.paused() {
            // A pause would keep nodes from going back, and to end it first would let others go on.
            patch["spec"] = json!({ "rollout": { "pace": Pace::Running } });
            says += "; the pause is over";
        }
        Ok(change(patch, says))
    }

    fn retry(&self, now: Timestamp) -> Result<Change, Refusal> {
        let (shim, target) = (self.name.clone(), self.target.clone());
        if !self.rejected() {
            return Err(Refusal::NothingToRetry { shim, target });
        }
        let mut patch = annotated(RETRY, &now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        patch["metadata"]["annotations"][GIVEN_UP] = Value::Null;
        let says = format!("{target} is tried once more, from its first wave on");
        Ok(change(patch, says))
    }
}
