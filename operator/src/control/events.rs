//! What is told to people at the moment it happens. Nothing depends on it.

use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use tracing::warn;
use wherry_operator_core::crd::{WasmShim, WasmShimStatus};
use wherry_operator_core::in_words;
use wherry_operator_core::plan::Refusal;

use super::Controller;

/// Of the API server (Kubernetes, `pkg/apis/core/validation/events.go`, `NoteLengthLimit`).
const LIMIT: usize = 1024;

impl Controller {
    /// An event is for people: without it nothing is lost.
    pub(super) async fn publish(&self, shim: &WasmShim, event: Event) {
        if let Err(error) = self.recorder.publish(&event, &shim.object_ref(&())).await {
            warn!(error = in_words(&error), "an event was not told");
        }
    }
}

/// A rollout has come to another phase.
pub(super) fn phase(status: &WasmShimStatus) -> Event {
    let bad = status.rejected.as_ref();
    let wave = status.wave.as_ref().map(|wave| format!(", wave {:?}", wave.name));
    let told = bad.map(|bad| bad.message.clone()).unwrap_or_default();
    let note = format!("{} ready{} {told}", status.nodes.summary, wave.unwrap_or_default());
    let type_ = if bad.is_some() { EventType::Warning } else { EventType::Normal };
    event(type_, &format!("{:?}", status.phase), "Rollout", note)
}

/// The spec can't be carried out.
pub(super) fn refused(refused: &Refusal) -> Event {
    event(EventType::Warning, refused.reason(), "Rollout", refused.message().into())
}

/// Something with an agent that did not come to a report.
pub(super) fn agent(reason: &str, node: &str, why: &str) -> Event {
    event(EventType::Warning, reason, "Rollout", format!("node {node}: {why}"))
}

/// Nodes that could not be reached before the end.
pub(super) fn left(nodes: &[&str]) -> Event {
    let note = format!(
        "{} nodes were not reached and keep what they have, until wherry-node remove is run on them: {}",
        nodes.len(),
        nodes.join(", ")
    );
    event(EventType::Warning, "NodesLeft", "Uninstall", note)
}

fn event(type_: EventType, reason: &str, action: &str, note: String) -> Event {
    Event {
        type_,
        reason: reason.into(),
        note: Some(cut(note)),
        action: action.into(),
        secondary: None,
    }
}

/// What is too long is cut.
fn cut(mut note: String) -> String {
    const MORE: &str = " …";
    if note.len() > LIMIT {
        note.truncate(note.floor_char_boundary(LIMIT - MORE.len()));
        note.push_str(MORE);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_as_long_as_the_api_server_takes_it() {
        let names: Vec<String> = (0..200).map(|at| format!("nöde-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let note = left(&names).note.expect("a note");
        assert!(note.starts_with("200 nodes") && note.ends_with(" …"), "{note}");
        assert!((LIMIT - 8..=LIMIT).contains(&note.len()), "{}", note.len());
        assert!(left(&["a", "b"]).note.expect("a note").ends_with(": a, b"));
    }
}
