//! Probes of every kind, each with what it decides.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, condition};
use wherry_e2e::suite::{Case, For};

use crate::pod::{Wanted, each, of, script};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("readiness_by_exec_comes_and_goes", For::Any, exec_ready),
    ("readiness_by_http", For::Wherry, |c| {
        ready(c, json!({ "httpGet": { "path": "/", "port": 8080 }}))
    }),
    ("readiness_by_tcp", For::Wherry, |c| ready(c, json!({ "tcpSocket": { "port": 8080 }}))),
    ("readiness_by_grpc", For::Wherry, |c| ready(c, json!({ "grpc": { "port": 8080 }}))),
    ("readiness_by_http_says_no", For::Wherry, not_ready),
    ("liveness_by_exec_restarts_the_container", For::Any, |c| {
        let alive = json!({ "exec": { "command": ["sh", "-c", "[ ! -f /v/0 ] || [ -f /v/1 ]"] }});
        restarted(c, script(c, "touch /v/$(ls /v | wc -l); sleep 1000")?, alive)
    }),
    ("liveness_by_http_restarts_the_container", For::Wherry, |c| {
        restarted(
            c,
            of(&c.guest("http-p2")?, &[]),
            json!({ "httpGet": { "path": "/nothing", "port": 8080 }}),
        )
    }),
    ("liveness_by_grpc_restarts_the_container", For::Wherry, |c| {
        // Nothing that the service knows.
        restarted(c, of(&c.guest("http-p3")?, &[]), json!({ "grpc": { "port": 8080 }}))
    }),
    ("a_startup_probe_holds_the_others_back", For::Any, startup),
];

fn often(mut probe: Value) -> Value {
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(1);
    probe
}

fn exec_ready(c: &Cluster) -> Result<()> {
    let pod = script(c, "sleep 1000")?;
    let pod = pod.main(json!({ "readinessProbe": often(json!({ "exec": { "command": ["test", "-f", "/tmp/ready"] }})) }));
    each(c, &pod, |pod| {
        pod.until(|pod| pod["status"]["phase"] == "Running" && condition(pod, "Ready") == "False")?;
        pod.done(&["touch", "/tmp/ready"])?;
        pod.ready()?;
        pod.done(&["rm", "/tmp/ready"])?;
        pod.until(|pod| condition(pod, "Ready") == "False")?;
        Ok(())
    })
}

fn ready(c: &Cluster, probe: Value) -> Result<()> {
    let pod = of(&c.guest("http-p2")?, &[]).main(json!({ "readinessProbe": often(probe) }));
    each(c, &pod, |pod| pod.ready().map(drop))
}

fn not_ready(c: &Cluster) -> Result<()> {
    let probe = often(json!({ "httpGet": { "path": "/nothing", "port": 8080 }}));
    let pod = of(&c.guest("http-p2")?, &[]).main(json!({ "readinessProbe": probe }));
    each(c, &pod, |pod| {
        pod.tells(&["HTTP probe failed with statuscode: 404"])?;
        let seen = pod.seen()?;
        ensure!(condition(&seen, "Ready") == "False", "{seen}");
        Ok(())
    })
}

/// A container whose life is denied begins again, and is told of.
fn restarted(c: &Cluster, pod: Wanted, probe: Value) -> Result<()> {
    let pod = pod.main(json!({
        "livenessProbe": often(probe), "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    }));
    let pod = pod.spec(json!({
        "restartPolicy": "Always", "volumes": [{ "name": "v", "emptyDir": {} }],
        "terminationGracePeriodSeconds": 1,
    }));
    each(c, &pod, |pod| {
        pod.until(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"].as_u64() >= Some(1)
                && !status["lastState"]["terminated"].is_null()
        })?;
        pod.tells(&["Unhealthy", "Killing"])
    })
}

fn startup(c: &Cluster) -> Result<()> {
    let pod = script(c, "sleep 2; touch /tmp/begun; sleep 1000")?;
    let pod = pod.main(json!({
        "startupProbe": { "exec": { "command": ["test", "-f", "/tmp/begun"] }, "periodSeconds": 1, "failureThreshold": 30 },
        // It would end the container in its first two seconds.
        "livenessProbe": often(json!({ "exec": { "command": ["test", "-f", "/tmp/begun"] }})),
    }));
    each(c, &pod, |pod| {
        let seen = pod.ready()?;
        let status = &seen["status"]["containerStatuses"][0];
        ensure!(status["started"] == true && status["restartCount"] == 0, "{status}");
        Ok(())
    })
}
