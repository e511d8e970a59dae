//! What agents' pods tell: a report, or why there is none.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt as _;
use wherry_report::Report;

/// Keeps of an agent's pod what it ended with.
pub(crate) fn strip_pod(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    pod.spec = None;
}

fn of_job(pod: &Pod, job: &str) -> bool {
    pod.labels().get("batch.kubernetes.io/job-name").is_some_and(|name| name == job)
}

/// What one of the Job's pods reported of this order.
pub(crate) fn report(pods: &[Arc<Pod>], job: &str, transaction: &str) -> Option<Report> {
    let mut messages = pods.iter().filter(|pod| of_job(pod, job)).filter_map(|pod| {
        let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
        let state = containers.first()?.state.as_ref()?;
        Report::parse(state.terminated.as_ref()?.message.as_ref()?).ok()
    });
    messages.rfind(|report| report.transaction == transaction)
}

/// What an agent's pod has come to, by its kubelet.
enum Came {
    Began,
    /// Not let in: it is said in the pod, not in a container.
    TurnedAway(String),
    /// Its container cannot be made, mostly for want of its image.
    Waits(String),
    /// It may begin yet, or nobody says.
    Unknown,
}

fn came(pod: &Pod) -> Came {
    /// What a container waits for in the ordinary course.
    const ORDINARY: [&str; 3] = ["ContainerCreating", "PodInitializing", "ErrImagePull"];
    let Some(status) = &pod.status else { return Came::Unknown };
    let states = || status.container_statuses.iter().flatten().filter_map(|it| it.state.as_ref());
    let began = |state: &ContainerState| {
        let ended = state.terminated.as_ref();
        state.running.is_some() || ended.is_some_and(|it| it.started_at.is_some())
    };
    let told = |reason: &str, message: &Option<String>| {
        let message = message.as_deref().unwrap_or_default();
        format!("{reason}: {message}").trim_end_matches([':', ' ']).to_string()
    };
    if states().any(began) {
        return Came::Began;
    }
    if let Some(reason) =
        status.reason.as_ref().filter(|_| status.phase.as_deref() == Some("Failed"))
    {
        return Came::TurnedAway(told(reason, &status.message));
    }
    let waits = states().filter_map(|state| state.waiting.as_ref()).find_map(|waiting| {
        let reason = waiting.reason.as_deref().filter(|it| !ORDINARY.contains(it))?;
        Some(told(reason, &waiting.message))
    });
    waits.map_or(Came::Unknown, Came::Waits)
}

/// Why no agent was at work, if the kubelet let none of the Job's pods in.
pub(crate) fn turned_away(pods: &[Arc<Pod>], job: &str) -> Option<String> {
    let mut told = None;
    for pod in pods.iter().filter(|pod| of_job(pod, job)) {
        let Came::TurnedAway(why) = came(pod) else { return None };
        told = Some(why);
    }
    told
}

/// Whether an agent of the Job is known to have begun, and if not, why.
pub(crate) fn begins(pods: &[Arc<Pod>], job: &str) -> Option<Result<(), String>> {
    let mut told = None;
    for pod in pods.iter().filter(|pod| of_job(pod, job)) {
        match came(pod) {
            Came::Began => return Some(Ok(())),
            Came::Waits(why) => told = Some(Err(why)),
            Came::TurnedAway(_) | Came::Unknown => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(job: &str, status: Value) -> Arc<Pod> {
        let labels = json!({ "batch.kubernetes.io/job-name": job });
        let pod = json!({ "metadata": { "labels": labels }, "status": status });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn booked() -> Value {
        json!({ "phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource" })
    }

    #[test]
    fn only_a_kubelet_that_let_no_agent_in_turned_it_away() {
        let ended = json!({ "terminated": { "exitCode": 3, "startedAt": "2026-11-23T00:00:00Z" } });
        let ran = json!({ "phase": "Failed", "reason": "Evicted", "containerStatuses": [{
            "name": "agent", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "state": ended,
        }]});
        let no_image = json!({ "phase": "Pending" });
        let told = |all: &[(&str, Value)]| {
            let pods: Vec<_> = all.iter().map(|(job, status)| pod(job, status.clone())).collect();
            turned_away(&pods, "j")
        };
        let why = "OutOfcpu: Node didn't have enough resource".to_string();
        assert_eq!(told(&[("j", booked()), ("j", booked())]), Some(why));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("other", booked())]), None);
        assert_eq!(told(&[("j", booked()), ("j", ran)]), None);
        assert_eq!(told(&[("j", booked()), ("j", no_image)]), None);
    }

    #[test]
    fn an_image_that_cannot_be_had_is_what_an_agent_waits_for() {
        let waiting = |reason: &str| {
            json!({ "phase": "Pending", "containerStatuses": [{
                "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": "not found" } },
            }]})
        };
        let told = |status: Value| begins(&[pod("j", status)], "j");
        assert_eq!(
            told(waiting("ImagePullBackOff")),
            Some(Err("ImagePullBackOff: not found".into()))
        );
        // It is tried again at once.
        assert_eq!(told(waiting("ErrImagePull")), None);
        assert_eq!(told(waiting("ContainerCreating")), None);
        let runs = json!({ "containerStatuses": [{
            "name": "agent", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": { "running": {} },
        }]});
        let both = [pod("j", waiting("ImagePullBackOff")), pod("j", runs)];
        assert_eq!(begins(&both, "j"), Some(Ok(())));
    }
}
