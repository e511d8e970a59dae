//! Pods that controllers make: Jobs, CronJobs, Deployments behind a Service, StatefulSets.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, condition, in_network_of};
use wherry_e2e::command::until;
use wherry_e2e::http;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};
use wherry_e2e::traffic::Traffic;

use crate::pod::{LIMIT, Object, merge};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("a_cron_job_runs_on_time", For::Any, cron_job),
    ("a_deployment_is_updated_under_load_and_nobody_sees_it", For::Wherry, rolling_update),
    ("a_job_completes_in_parallel", For::Any, job),
    ("a_job_that_fails_is_tried_again_and_given_up", For::Any, failing_job),
    ("a_job_knows_which_exit_codes_are_final", For::Any, final_code),
    ("a_stateful_set_has_names_that_stay", For::Any, stateful_set),
    ("a_daemon_set_is_on_every_node", For::Any, daemon_set),
];

/// A controller takes longer than a pod: it makes some, one after another.
pub(crate) const LONGER: Duration = Duration::from_secs(120);

/// A pod template with one container.
fn template(c: &Cluster, app: &str, container: Value, spec: Value) -> Value {
    let mut main = json!({ "name": "main" });
    merge(&mut main, container);
    let mut all = json!({ "containers": [main], "terminationGracePeriodSeconds": 20 });
    if c.runtime == Runtime::Wherry {
        all["runtimeClassName"] = json!("wherry");
    }
    merge(&mut all, spec);
    json!({ "metadata": { "labels": { "app": app }}, "spec": all })
}

fn object(kind: (&str, &str), name: &str, spec: Value) -> Value {
    json!({ "apiVersion": kind.0, "kind": kind.1, "metadata": { "name": name }, "spec": spec })
}

const JOB: (&str, &str) = ("batch/v1", "Job");

fn job(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.guest("hello")? });
    let template = template(c, "job", main, json!({ "restartPolicy": "Never" }));
    let spec = json!({ "completions": 4, "parallelism": 2, "template": template });
    let job = Object::new(c, object(JOB, "parallel", spec))?;
    let seen = job.until(LONGER, |job| condition(job, "Complete") == "True")?;
    ensure!(seen["status"]["succeeded"] == 4, "{seen}");
    Ok(())
}

fn failing_job(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.guest("exit")?, "args": ["1"] });
    let template = template(c, "failing", main, json!({ "restartPolicy": "Never" }));
    let spec = json!({ "backoffLimit": 1, "template": template });
    let job = Object::new(c, object(JOB, "failing", spec))?;
    let seen = job.until(LONGER, |job| condition(job, "Failed") == "True")?;
    ensure!(seen["status"]["failed"] == 2, "{seen}");
    Ok(())
}

fn final_code(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.guest("exit")?, "args": ["42"] });
    let template = template(c, "final", main, json!({ "restartPolicy": "Never" }));
    let rule = json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] }});
    let spec =
        json!({ "backoffLimit": 6, "podFailurePolicy": { "rules": [rule] }, "template": template });
    let job = Object::new(c, object(JOB, "final", spec))?;
    let seen = job.until(LONGER, |job| condition(job, "Failed") == "True")?;
    ensure!(seen["status"]["failed"] == 1, "{seen}");
    Ok(())
}

fn cron_job(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.guest("hello")? });
    let template = template(c, "cron", main, json!({ "restartPolicy": "Never" }));
    let spec =
        json!({ "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template }}});
    let cron = Object::new(c, object(("batch/v1", "CronJob"), "every-minute", spec))?;
    cron.until(LONGER, |cron| cron["status"]["lastSuccessfulTime"].is_string())?;
    let said = c.ask(&["logs", "-l", "app=cron", "--tail=-1"])?;
    ensure!(said.contains("Hello"), "{said}");
    Ok(())
}

fn rolling_update(c: &Cluster) -> Result<()> {
    let web = Web::new(c, "web", json!({}))?;
    let traffic = web.traffic()?;
    updates(&web.deployment)?;
    traffic.into_iter().try_for_each(|one| one.end().map(drop))
}

/// A Deployment of four, and its Service.
pub(crate) struct Web<'a> {
    cluster: &'a Cluster,
    pub(crate) deployment: Object<'a>,
    at: SocketAddr,
    _service: Object<'a>,
}

impl Web<'_> {
    /// When all four are available. `spec` is their pods'.
    pub(crate) fn new<'a>(c: &'a Cluster, name: &str, spec: Value) -> Result<Web<'a>> {
        let main = json!({
            "image": c.guest("http-p2")?, "env": [{ "name": "VERSION", "value": "1" }],
            "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
            // kube-proxy hears of an end a moment after the pod.
            "lifecycle": { "preStop": { "sleep": { "seconds": 3 }}},
        });
        let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 2 }});
        let pods = json!({
            "replicas": 4, "selector": { "matchLabels": { "app": name }}, "strategy": rolling,
            "template": template(c, name, main, spec),
        });
        let deployment = Object::new(c, object(("apps/v1", "Deployment"), name, pods))?;
        let spec =
            json!({ "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }]});
        let service = Object::new(c, object(("v1", "Service"), name, spec))?;
        let made = service.until(LIMIT, |service| service["spec"]["clusterIP"].is_string())?;
        let address = made["spec"]["clusterIP"].as_str().context("an address")?.parse()?;
        let web =
            Web { cluster: c, deployment, at: SocketAddr::new(address, 80), _service: service };
        web.available()?;
        Ok(web)
    }

    pub(crate) fn available(&self) -> Result<()> {
        self.deployment.until(LONGER, |web| web["status"]["availableReplicas"] == 4).map(drop)
    }

    /// Clients on each node, once kube-proxy leads them there: what is sent before goes nowhere.
    pub(crate) fn traffic(&self) -> Result<Vec<Traffic>> {
        let clients = self.cluster.nodes.iter().map(|node| {
            in_network_of(node.leader(), || {
                let there = || TcpStream::connect_timeout(&self.at, Duration::from_secs(1)).is_ok();
                ensure!(until(LIMIT, there), "the Service does not answer on {}", node.name());
                let answer = http::get(self.at, "/")?;
                ensure!(answer == (200, "Hello, WASI!\n".to_string()), "{answer:?}");
                Ok(())
            })?;
            Traffic::start(node.leader(), self.at, 2)
        });
        clients.collect()
    }
}

/// Two updates, one after another.
fn updates(web: &Object) -> Result<()> {
    for version in ["2", "3"] {
        web.change(json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "main", "env": [{ "name": "VERSION", "value": version }]},
        ]}}}}))?;
        web.until(LONGER, move |web| {
            let status = &web["status"];
            status["observedGeneration"] == web["metadata"]["generation"]
                && status["updatedReplicas"] == 4
                && status["replicas"] == 4
                && status["availableReplicas"] == 4
        })?;
    }
    Ok(())
}

fn stateful_set(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.toolbox()?, "args": ["sh", "-c", "hostname; sleep 1000"] });
    let template = template(c, "set", main, json!({ "terminationGracePeriodSeconds": 1 }));
    let spec = json!({
        "replicas": 2, "serviceName": "set", "selector": { "matchLabels": { "app": "set" }}, "template": template,
    });
    let set = Object::new(c, object(("apps/v1", "StatefulSet"), "set", spec))?;
    set.until(LONGER, |set| set["status"]["availableReplicas"] == 2)?;
    let uid = |c: &Cluster| c.ask(&["get", "pod", "set-1", "-o", "jsonpath={.metadata.uid}"]);
    let before = uid(c)?;
    ensure!(c.ask(&["logs", "set-1"])? == "set-1");
    c.ask(&["delete", "pod", "set-1", "--wait=false"])?;
    let again = until(LONGER, || {
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        uid(c).is_ok_and(|now| now != before)
            && c.ask(&["get", "pod", "set-1", "-o", ready]).is_ok_and(|ready| ready == "True")
    });
    ensure!(again && c.ask(&["logs", "set-1"])? == "set-1");
    Ok(())
}

fn daemon_set(c: &Cluster) -> Result<()> {
    let main = json!({ "image": c.guest("sleep")? });
    let template = template(c, "everywhere", main, json!({ "terminationGracePeriodSeconds": 1 }));
    let spec =
        json!({ "selector": { "matchLabels": { "app": "everywhere" }}, "template": template });
    let set = Object::new(c, object(("apps/v1", "DaemonSet"), "everywhere", spec))?;
    set.until(LONGER, |set| set["status"]["numberAvailable"] == 2)?;
    Ok(())
}
