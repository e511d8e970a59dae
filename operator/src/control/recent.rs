//! What was written and not yet told by the watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wherry_operator_core::crd::NodeShim;

/// `NodeShim`s as the API server answered, until the watch knows as much. A decision on an older one would count a
/// node as free that has just been ordered to do something.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    written: HashMap<String, Arc<NodeShim>>,
    /// RuntimeClasses as they were applied, and when.
    applied: HashMap<String, (String, Instant)>,
}

/// What somebody else changes in a RuntimeClass is made right so often.
const AGAIN: Duration = Duration::from_secs(300);

/// Orders and what they came to are counted, and neither ever goes back.
fn age(object: &NodeShim) -> (u32, u32) {
    let observed = object.status.as_ref().and_then(|status| status.observed.as_ref());
    (object.spec.attempt, observed.map_or(0, |seen| seen.attempt))
}

impl Recent {
    pub(crate) fn wrote(&mut self, name: String, object: NodeShim) {
        self.written.insert(name, Arc::new(object));
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.written.remove(name);
    }

    /// Whether a RuntimeClass is to be applied now, which the caller then does.
    pub(crate) fn applies(&mut self, name: String, text: String) -> bool {
        let known = self.applied.get(&name);
        if known.is_some_and(|(was, at)| *was == text && at.elapsed() < AGAIN) {
            return false;
        }
        self.applied.insert(name, (text, Instant::now()));
        true
    }

    pub(crate) fn unapplied(&mut self, name: &str) {
        self.applied.remove(name);
    }

    pub(crate) fn newest(
        &mut self,
        name: &str,
        told: Option<Arc<NodeShim>>,
    ) -> Option<Arc<NodeShim>> {
        let Some(written) = self.written.get(name) else { return told };
        match &told {
            // Another one of the same name, or as new.
            Some(told)
                if told.metadata.uid != written.metadata.uid || age(told) >= age(written) =>
            {
                self.written.remove(name);
                Some(told.clone())
            }
            _ => Some(written.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use wherry_operator_core::crd::{Action, NodeShimSpec};

    use super::*;

    fn object(uid: &str, attempt: u32) -> NodeShim {
        let spec = NodeShimSpec {
            shim: "wherry".into(),
            node: "n1".into(),
            node_uid: "u".into(),
            revision: "r".into(),
            action: Action::Install,
            attempt,
            wave: String::new(),
        };
        let mut object = NodeShim::new("wherry.n1", spec);
        object.metadata.uid = Some(uid.into());
        object
    }

    #[test]
    fn what_was_written_counts_until_the_watch_tells_it() {
        let mut recent = Recent::default();
        let mut attempt = |told: Option<NodeShim>| {
            recent.newest("wherry.n1", told.map(Arc::new)).map(|object| object.spec.attempt)
        };
        assert_eq!(attempt(Some(object("a", 1))), Some(1));
        recent.wrote("wherry.n1".into(), object("a", 2));
        let mut attempt = |told: Option<NodeShim>| {
            recent.newest("wherry.n1", told.map(Arc::new)).map(|object| object.spec.attempt)
        };
        assert_eq!(attempt(None), Some(2));
        assert_eq!(attempt(Some(object("a", 1))), Some(2));
        assert_eq!(attempt(Some(object("a", 2))), Some(2));
        assert_eq!(attempt(Some(object("a", 1))), Some(1), "the watch is believed again");
    }

    #[test]
    fn an_object_that_was_made_anew_is_another_one() {
        let mut recent = Recent::default();
        recent.wrote("wherry.n1".into(), object("a", 7));
        let told = recent.newest("wherry.n1", Some(Arc::new(object("b", 1))));
        assert_eq!(told.map(|object| object.spec.attempt), Some(1));
    }
}
