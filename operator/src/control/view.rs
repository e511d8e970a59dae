//! Objects of the API become what the planner reads, and reports become observations.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use wherry_operator_core::crd::{
    self, HOLD, NodeShim, NodeShimStatus, ONLY_LOOKED_AT, Observation, PENDING, READY, WasmShim,
    proof_label, startup_taint,
};
use wherry_operator_core::plan::{self, Decided};
use wherry_report::{Outcome, Report};

/// Keeps of a node what is read here: a whole one has 10 to 40 KB, most of them names of images.
pub(crate) fn strip_node(node: &mut Node) {
    node.managed_fields_mut().clear();
    node.annotations_mut().retain(|key, _| key == HOLD);
    if let Some(spec) = &mut node.spec {
        *spec = k8s_openapi::api::core::v1::NodeSpec {
            taints: spec.taints.take(),
            ..Default::default()
        };
    }
    if let Some(status) = &mut node.status {
        let mut conditions = status.conditions.take().unwrap_or_default();
        // Ours too: whoever writes them knows what they say.
        conditions.retain(|it| it.type_ == "Ready" || it.type_.starts_with(crd::CONDITIONS));
        // A heartbeat is no news.
        conditions.iter_mut().for_each(|condition| condition.last_heartbeat_time = None);
        let mut handlers = status.runtime_handlers.take();
        handlers.iter_mut().flatten().for_each(|handler| handler.features = None);
        *status = k8s_openapi::api::core::v1::NodeStatus {
            conditions: Some(conditions),
            node_info: status.node_info.take(),
            runtime_handlers: handlers,
            ..Default::default()
        };
    }
}

/// Keeps of a Job whether it has ended.
pub(crate) fn strip_job(job: &mut Job) {
    job.managed_fields_mut().clear();
    job.spec = None;
}

pub(crate) fn selected(shim: &WasmShim, node: &Node) -> bool {
    shim.spec.nodes.select(node.labels())
}

/// A node as the planner reads it.
pub(crate) fn node(
    shim: &WasmShim,
    node: &Node,
    object: Option<&NodeShim>,
    handlers_lost: Option<Timestamp>,
) -> plan::Node {
    let name = shim.name_any();
    let info = info(node);
    let ready = node
        .status
        .as_ref()
        .and_then(|it| it.conditions.as_ref())
        .and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    let since = ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
    let spread = shim.spec.rollout.spread.as_ref();
    let domain = spread.and_then(|spread| node.labels().get(&spread.topology_key)).cloned();
    let observed = object.and_then(|it| it.status.as_ref()).and_then(|it| it.observed.clone());
    // A label below a startup taint is of no use: both are made right together.
    let shut = tainted(node, &name) && observed.as_ref().is_some_and(|seen| seen.proved);
    plan::Node {
        name: node.name_any(),
        uid: node.uid().unwrap_or_default(),
        selected: selected(shim, node),
        ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_since: since.unwrap_or(Timestamp::UNIX_EPOCH),
        held: node.annotations().contains_key(HOLD),
        domain: domain.unwrap_or_default(),
        proved: labelled(node, &name) && !shut,
        boot_id: info.boot_id,
        machine_id: info.machine_id,
        runtime_version: info.container_runtime_version,
        handlers_lost,
        decided: object.map(|object| Decided {
            attempt: object.spec.attempt,
            action: object.spec.action,
            revision: object.spec.revision.clone(),
            wave: object.spec.wave.clone(),
            only_looked_at: only_looked_at(object),
        }),
        observed,
        installed: object
            .and_then(|it| it.status.as_ref()?.installed.as_ref())
            .map(|installed| installed.revision.clone()),
    }
}

pub(crate) fn info(node: &Node) -> NodeSystemInfo {
    node.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default()
}

/// An object of an older operator does not say: then there may be something.
pub(crate) fn only_looked_at(object: &NodeShim) -> bool {
    let seen = object.status.as_ref().and_then(|status| status.observed.as_ref());
    let never_ran = seen.is_some_and(|it| it.never_ran && it.attempt == object.spec.attempt);
    object.annotations().get(ONLY_LOOKED_AT).is_some_and(|value| {
        value == "true" || (never_ran && *value == before(object.spec.attempt))
    })
}

fn before(attempt: u32) -> String {
    format!("before-{attempt}")
}

/// What is written of that, of an order that follows these.
pub(crate) fn looked_at(last: Option<&NodeShim>, order: &plan::Order) -> String {
    match last.is_none_or(only_looked_at) {
        true if order.action.disrupts() => before(order.attempt),
        looked => looked.to_string(),
    }
}

fn labelled(node: &Node, shim: &str) -> bool {
    node.labels().get(&proof_label(shim)).is_some_and(|value| value == READY)
}

pub(crate) fn tainted(node: &Node, shim: &str) -> bool {
    let key = startup_taint(shim);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let ours = |taint: &k8s_openapi::api::core::v1::Taint| {
        taint.key == key && taint.value.as_deref() == Some(PENDING)
    };
    taints.is_some_and(|all| all.iter().any(ours))
}

/// What a node's condition is to say, unless it is to have none.
pub(crate) fn condition(
    shim: &WasmShim,
    node: &Node,
    status: &NodeShimStatus,
) -> Option<NodeCondition> {
    let leaves = shim.metadata.deletion_timestamp.is_some() || !selected(shim, node);
    let seen = status.observed.as_ref()?;
    let proved = seen.proved && !leaves;
    let asked = seen.action == crd::Action::Plan;
    if (leaves || asked) && conditioned(node, &shim.name_any()).is_none() {
        return None;
    }
    let word = |holds: bool, yes: &str, no: &str| if holds { yes } else { no }.to_string();
    let now = Some(Time(Timestamp::now()));
    Some(NodeCondition {
        type_: crd::condition(&shim.name_any()),
        status: word(proved, "True", "False"),
        reason: Some(word(proved, "Proved", "NotProved")),
        message: Some(format!("{:?} of {}: {}", seen.action, seen.revision, status.message)),
        last_transition_time: match conditioned(node, &shim.name_any()) {
            Some(was) if was.status == word(proved, "True", "False") => {
                was.last_transition_time.clone()
            }
            _ => now.clone(),
        },
        last_heartbeat_time: now,
    })
}

/// Our condition of a node.
pub(crate) fn conditioned<'n>(node: &'n Node, shim: &str) -> Option<&'n NodeCondition> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|it| it.type_ == crd::condition(shim))
}

/// Nothing is on its node any more.
pub(crate) fn removed(object: &NodeShim) -> bool {
    object.status.as_ref().is_some_and(|status| status.phase == crd::Phase::Removed)
}

/// When the Job ended, if it has.
pub(crate) fn ended(job: &Job) -> Option<Timestamp> {
    let all = job.status.as_ref()?.conditions.as_ref()?;
    let end = |kind: &str| ["Complete", "Failed"].contains(&kind);
    let condition = all.iter().find(|it| end(&it.type_) && it.status == "True")?;
    Some(condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// What became of an order.
pub(crate) enum End {
    Report(Box<Report>),
    /// No agent ever ran: why, in a sentence.
    NeverRan(String),
    /// Nobody knows.
    Silence,
}

/// What an order came to. Without a report it failed, and the node is thought to be as it was.
pub(crate) fn status(object: &NodeShim, node: &Node, end: End, now: Timestamp) -> NodeShimStatus {
    let (report, away) = match end {
        End::Report(report) => (Some(*report), None),
        End::NeverRan(why) => (None, Some(why)),
        End::Silence => (None, None),
    };
    let was = object.status.clone().unwrap_or_default();
    let (spec, info) = (&object.spec, info(node));
    let before = was.observed.as_ref().filter(|seen| seen.machine_id == info.machine_id);
    let outcome = report.as_ref().map_or(Outcome::Failed, |report| report.outcome);
    let proved = match (&report, spec.action) {
        (Some(report), action) if action != crd::Action::Plan => {
            let ran = report.proof.as_ref().is_some_and(|it| it.container_ran && it.handler_listed);
            report.installed.is_some() && ran && outcome != Outcome::Drifted
        }
        _ => before.is_some_and(|seen| seen.proved),
    };
    let failed = [Outcome::Failed, Outcome::Reverted].contains(&outcome);
    let again =
        before.filter(|seen| seen.revision == spec.revision).map_or(0, |seen| seen.failures);
    let observed = Observation {
        attempt: spec.attempt,
        action: spec.action,
        revision: spec.revision.clone(),
        outcome,
        proved,
        never_ran: away.is_some(),
        failures: if failed { again.saturating_add(1) } else { 0 },
        at: Time(now),
        node_uid: node.uid().unwrap_or_default(),
        boot_id: info.boot_id,
        machine_id: info.machine_id,
        runtime_version: info.container_runtime_version,
    };
    match report {
        Some(report) => NodeShimStatus::new(observed, report),
        None => NodeShimStatus {
            phase: outcome.into(),
            message: away.unwrap_or_else(|| {
                "the agent's Job ended, and there is no report: see its pod's events".into()
            }),
            waits: String::new(),
            observed: Some(observed),
            ..was
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_install_that_never_ran_has_changed_nothing() {
        let (_, node, mut object) = objects(false);
        object.spec.attempt = 1;
        let order = |attempt, action| plan::Order {
            attempt,
            action,
            revision: String::new(),
            wave: String::new(),
        };
        let first = looked_at(None, &order(1, crd::Action::Install));
        object.annotations_mut().insert(ONLY_LOOKED_AT.into(), first);
        assert!(!only_looked_at(&object), "it may run");
        object.status =
            Some(status(&object, &node, End::NeverRan("no image".into()), Timestamp::now()));
        assert!(only_looked_at(&object));
        assert_eq!(looked_at(Some(&object), &order(2, crd::Action::Verify)), "true");
        assert_eq!(looked_at(Some(&object), &order(2, crd::Action::Install)), "before-2");
        object.status = Some(status(&object, &node, End::Silence, Timestamp::now()));
        assert!(!only_looked_at(&object), "nobody knows whether it ran");
        assert_eq!(looked_at(Some(&object), &order(2, crd::Action::Verify)), "false");
    }

    fn objects(deleted: bool) -> (WasmShim, Node, NodeShim) {
        let mut shim = json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": "wherry" },
            "spec": { "artifact": { "image": "a" }, "handlers": [] },
        });
        if deleted {
            shim["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:00:00Z");
        }
        let node =
            json!({ "metadata": { "name": "n", "uid": "u" }, "status": { "conditions": [] } });
        let object = json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "NodeShim", "metadata": { "name": "wherry.n" },
            "spec": { "shim": "wherry", "node": "n", "nodeUid": "u", "revision": "wherry-b",
                "action": "Install", "attempt": 2 },
        });
        let read = "our own text";
        (
            serde_json::from_value(shim).expect(read),
            serde_json::from_value(node).expect(read),
            serde_json::from_value(object).expect(read),
        )
    }

    #[test]
    fn an_agent_that_was_not_let_in_is_told_with_the_kubelets_words() {
        let (_, node, object) = objects(false);
        let why = "the node let no agent in: OutOfcpu: full".to_string();
        let status = status(&object, &node, End::NeverRan(why.clone()), Timestamp::now());
        assert_eq!(status.message, why);
        assert!(status.observed.is_some_and(|seen| seen.never_ran));
    }

    /// The condition once named the revision of the day when the label came, and stayed for ever.
    #[test]
    fn a_nodes_condition_is_of_its_last_order_and_not_made_on_nodes_that_are_left() {
        let (shim, mut node, object) = objects(false);
        let status = status(&object, &node, End::Silence, Timestamp::now());
        let told = condition(&shim, &node, &status).expect("a condition");
        assert_eq!((told.type_.as_str(), told.status.as_str()), ("wherry.dev/wherry", "False"));
        assert!(told.message.as_ref().is_some_and(|it| it.starts_with("Install of wherry-b: ")));
        let (deleted, ..) = objects(true);
        assert_eq!(condition(&deleted, &node, &status), None);
        node.status.get_or_insert_default().conditions = Some(vec![told]);
        strip_node(&mut node);
        assert!(
            conditioned(&node, "wherry").is_some(),
            "it is known, so that it can be taken away"
        );
        assert!(condition(&deleted, &node, &status).is_some());
    }
}
