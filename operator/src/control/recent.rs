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
    /// RuntimeClasses that were not taken.
    refused: HashMap<String, Refused>,
}

#[derive(Debug)]
struct Refused {
    text: String,
    sentence: String,
    times: u32,
    at: Instant,
}

/// What is to be done about a RuntimeClass now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Apply,
    /// It was, a short time ago.
    Rest,
    /// It was not taken, for this reason, and is to be tried again later.
    Wait(String),
}

/// What somebody else changes in a RuntimeClass is made right so often.
const AGAIN: Duration = Duration::from_secs(300);

/// After a first refusal; twice as long after each other one.
const REFUSED_FIRST: Duration = Duration::from_secs(2);
const REFUSED_LAST: Duration = Duration::from_secs(60);

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

    pub(crate) fn turn(&self, name: &str, text: &str) -> Turn {
        if let Some(refused) = self.refused.get(name).filter(|it| it.text == text) {
            let wait = (REFUSED_FIRST * (1 << refused.times.min(10))).min(REFUSED_LAST);
            return match refused.at.elapsed() < wait {
                true => Turn::Wait(refused.sentence.clone()),
                false => Turn::Apply,
            };
        }
        match self.applied.get(name) {
            Some((was, at)) if was == text && at.elapsed() < AGAIN => Turn::Rest,
            _ => Turn::Apply,
        }
    }

    pub(crate) fn applied(&mut self, name: &str, text: String) {
        self.refused.remove(name);
        self.applied.insert(name.to_string(), (text, Instant::now()));
    }

    pub(crate) fn refused(&mut self, name: &str, text: String, sentence: String) {
        let before = self.refused.get(name).filter(|it| it.text == text);
        let times = before.map_or(0, |it| it.times.saturating_add(1));
        self.applied.remove(name);
        let refused = Refused { text, sentence, times, at: Instant::now() };
        self.refused.insert(name.to_string(), refused);
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
    fn a_runtime_class_that_was_refused_waits_longer_each_time_unless_it_changes() {
        let mut recent = Recent::default();
        assert_eq!(recent.turn("wherry", "a"), Turn::Apply);
        for times in 0..3 {
            recent.refused("wherry", "a".into(), "it is there".into());
            assert_eq!(recent.refused["wherry"].times, times);
            assert_eq!(recent.turn("wherry", "a"), Turn::Wait("it is there".into()));
        }
        let since = |ago: u64| Instant::now().checked_sub(Duration::from_secs(ago)).expect("past");
        recent.refused.get_mut("wherry").expect("refused").at = since(7);
        assert!(matches!(recent.turn("wherry", "a"), Turn::Wait(_)));
        recent.refused.get_mut("wherry").expect("refused").at = since(9);
        assert_eq!(recent.turn("wherry", "a"), Turn::Apply);
        assert_eq!(recent.turn("wherry", "b"), Turn::Apply);
        recent.applied("wherry", "a".into());
        assert_eq!(recent.turn("wherry", "a"), Turn::Rest);
    }

    #[test]
    fn an_object_that_was_made_anew_is_another_one() {
        let mut recent = Recent::default();
        recent.wrote("wherry.n1".into(), object("a", 7));
        let told = recent.newest("wherry.n1", Some(Arc::new(object("b", 1))));
        assert_eq!(told.map(|object| object.spec.attempt), Some(1));
    }
}
