//! Objects of the API become what the planner reads, and reports become observations.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use wherry_operator_core::crd::{
    self, HOLD, NodeShim, NodeShimStatus, Observation, PENDING, READY, WasmShim, proof_label,
    startup_taint,
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
        conditions.retain(|condition| condition.type_ == "Ready");
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

/// Keeps of an agent's pod what it ended with.
pub(crate) fn strip_pod(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    pod.spec = None;
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
        }),
        observed,
    }
}

pub(crate) fn info(node: &Node) -> NodeSystemInfo {
    node.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default()
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

/// When the Job ended, if it has.
pub(crate) fn ended(job: &Job) -> Option<Timestamp> {
    let all = job.status.as_ref()?.conditions.as_ref()?;
    let end = |kind: &str| ["Complete", "Failed"].contains(&kind);
    let condition = all.iter().find(|it| end(&it.type_) && it.status == "True")?;
    Some(condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// What one of the Job's pods reported of this order.
pub(crate) fn report(pods: &[std::sync::Arc<Pod>], job: &str, transaction: &str) -> Option<Report> {
    let of_job = |pod: &&std::sync::Arc<Pod>| {
        pod.labels().get("batch.kubernetes.io/job-name").is_some_and(|name| name == job)
    };
    let mut messages = pods.iter().filter(of_job).filter_map(|pod| {
        let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
        let state = containers.first()?.state.as_ref()?;
        Report::parse(state.terminated.as_ref()?.message.as_ref()?).ok()
    });
    messages.rfind(|report| report.transaction == transaction)
}

/// What an order came to. Without a report it failed, and the node is thought to be as it was.
pub(crate) fn status(
    object: &NodeShim,
    node: &Node,
    report: Option<Report>,
    now: Timestamp,
) -> NodeShimStatus {
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
            message: "the agent's Job ended, and there is no report: see its pod's events".into(),
            observed: Some(observed),
            ..was
        },
    }
}
