//! From the first probe to the last word: how containers begin, go on, end and begin again.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, condition};
use wherry_e2e::http;
use wherry_e2e::suite::{Case, For};

use crate::pod::{each, of, script};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("hooks_by_exec_run_after_the_start_and_before_the_end", For::Any, exec_hooks),
    ("hooks_by_http_ask_the_container", For::Wherry, http_hook),
    ("a_hook_that_sleeps_holds_the_end_back", For::Any, sleep_hook),
    ("restart_policy_on_failure_runs_until_it_succeeds", For::Any, on_failure),
    ("a_container_that_always_fails_waits_in_crash_loop_back_off", For::Any, crash_loop),
    ("the_termination_message_is_what_the_container_wrote", For::Any, message),
    ("the_termination_message_falls_back_to_the_log", For::Any, message_of_the_log),
    ("a_trap_is_an_error_with_its_reason", For::Wherry, trap),
    // runc's shim tells of it when it comes to it: on a busy machine the reason was Error.
    ("too_much_memory_is_oom_killed", For::Wherry, oom),
    ("a_program_that_is_not_there_is_a_start_error", For::Any, no_program),
    ("an_import_that_nobody_has_is_a_start_error", For::Wherry, no_import),
    ("a_service_finishes_its_requests_when_its_pod_is_deleted", For::Wherry, graceful),
    ("a_command_ends_at_once_when_its_pod_is_deleted", For::Wherry, at_once),
    ("limits_change_in_place", For::Any, resize),
    ("each_qos_class_has_its_cgroup", For::Any, qos),
];

fn host_volume(folder: &str) -> Value {
    json!([{ "name": "host", "hostPath": { "path": folder, "type": "DirectoryOrCreate" }}])
}

fn exec_hooks(c: &Cluster) -> Result<()> {
    let write = |what: &str| json!({ "exec": { "command": ["sh", "-c", format!("echo {what} >> /host/told")] }});
    let pod = script(c, "echo main; sleep 1000")?.main(json!({
        "lifecycle": { "postStart": write("started"), "preStop": write("stopping") },
        "volumeMounts": [{ "name": "host", "mountPath": "/host" }],
    }));
    let pod = pod.spec(json!({ "volumes": host_volume("/var/tmp/hooks") }));
    each(c, &pod, |pod| {
        pod.ready()?;
        let told = pod.node.path("/var/tmp/hooks/told");
        ensure!(fs::read_to_string(&told)? == "started\n");
        pod.delete()?;
        pod.gone()?;
        ensure!(fs::read_to_string(&told)? == "started\nstopping\n");
        Ok(())
    })
}

fn http_hook(c: &Cluster) -> Result<()> {
    let hook = |port: u16| json!({ "postStart": { "httpGet": { "path": "/", "port": port }}});
    let good = of(&c.guest("http-p2")?, &[]).main(json!({ "lifecycle": hook(8080) }));
    each(c, &good, |pod| pod.ready().map(drop))?;
    // Nobody is there, which ends the container.
    let bad = of(&c.guest("http-p2")?, &[]).main(json!({ "lifecycle": hook(81) }));
    each(c, &bad, |pod| {
        pod.end()?;
        pod.tells(&["FailedPostStartHook"])
    })
}

fn sleep_hook(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("sleep")?, &[]);
    let pod = pod.main(json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 2 }}}}));
    each(c, &pod.spec(json!({ "terminationGracePeriodSeconds": 10 })), |pod| {
        pod.ready()?;
        let begin = Instant::now();
        pod.delete()?;
        pod.gone()?;
        ensure!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
        Ok(())
    })
}

fn on_failure(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo >> /v/tries; [ $(wc -l < /v/tries) = 3 ]")?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }]}));
    let pod = pod
        .spec(json!({ "restartPolicy": "OnFailure", "volumes": [{ "name": "v", "emptyDir": {} }]}));
    each(c, &pod, |pod| {
        let seen = pod.ended()?;
        let status = &seen["status"]["containerStatuses"][0];
        ensure!(seen["status"]["phase"] == "Succeeded" && status["restartCount"] == 2, "{seen}");
        Ok(())
    })
}

fn crash_loop(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("exit")?, &["7"]).spec(json!({ "restartPolicy": "Always" }));
    each(c, &pod, |pod| {
        let seen = pod.until(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && status["restartCount"] != 0
        })?;
        let status = &seen["status"]["containerStatuses"][0];
        let last = &status["lastState"]["terminated"];
        ensure!(last["exitCode"] == 7 && last["reason"] == "Error", "{status}");
        let message = status["state"]["waiting"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains("restarting failed container=main"), "{message}");
        Ok(())
    })
}

fn message(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo in the log; printf 'what happened' > /dev/termination-log; exit 4")?;
    each(c, &pod, |pod| {
        let end = pod.end()?;
        ensure!(end["message"] == "what happened" && end["exitCode"] == 4, "{end}");
        Ok(())
    })
}

fn message_of_the_log(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo last words; exit 4")?;
    let pod = pod.main(json!({ "terminationMessagePolicy": "FallbackToLogsOnError" }));
    each(c, &pod, |pod| {
        let end = pod.end()?;
        ensure!(end["message"] == "last words\n", "{end}");
        Ok(())
    })
}

fn trap(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("trap")?, &[]), |pod| {
        let end = pod.end()?;
        ensure!(end["exitCode"] == 134 && end["reason"] == "Error", "{end}");
        // Where people look: in the status, and in the log.
        let message = end["message"].as_str().unwrap_or_default();
        ensure!(message.contains("unreachable"), "{end}");
        let said = pod.logs(&[])?;
        ensure!(said.contains("before the trap") && said.contains("unreachable"), "{said}");
        Ok(())
    })
}

fn oom(c: &Cluster) -> Result<()> {
    // Files in memory, for which nobody asks the program.
    let pod = of(&c.guest("oom")?, &["files", "/m"]).main(json!({
        "resources": { "limits": { "memory": "48Mi" }},
        "volumeMounts": [{ "name": "m", "mountPath": "/m" }],
    }));
    let pod = pod.spec(json!({ "volumes": [{ "name": "m", "emptyDir": { "medium": "Memory" }}]}));
    each(c, &pod, |pod| {
        let end = pod.end()?;
        ensure!(end["reason"] == "OOMKilled" && end["exitCode"] == 137, "{end}");
        Ok(())
    })
}

fn no_program(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("hello")?, &[]).main(json!({ "command": ["/not-here"] }));
    each(c, &pod, |pod| {
        let end = pod.end()?;
        ensure!(end["reason"] == "StartError" && end["exitCode"] == 128, "{end}");
        let message = end["message"].as_str().unwrap_or_default();
        ensure!(message.contains("/not-here"), "{message}");
        let described = pod.cluster.ask(&["describe", "pod", &pod.name])?;
        ensure!(described.contains("StartError") && described.contains("/not-here"), "{described}");
        Ok(())
    })
}

fn no_import(c: &Cluster) -> Result<()> {
    let text = br#"(module (import "somebody" "something" (func)) (func (export "_start")))"#;
    let recipe =
        wherry_e2e::image::Recipe::program("wherry.test/no-import:1", "main.wat", text.to_vec());
    each(c, &of(&c.push(&recipe)?, &[]), |pod| {
        let end = pod.end()?;
        let message = end["message"].as_str().unwrap_or_default();
        ensure!(end["reason"] == "StartError" && message.contains("somebody"), "{end}");
        Ok(())
    })
}

fn graceful(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("http-p2")?, &[]).spec(json!({ "terminationGracePeriodSeconds": 30 }));
    let pod = pod.main(json!({ "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 }}));
    each(c, &pod, |pod| {
        pod.ready()?;
        let at = pod.socket(8080)?;
        let answer = pod.cluster.in_network(|| {
            std::thread::scope(|threads| {
                // A request that takes a second, and in the middle of it the end.
                let asked = threads.spawn(|| pod.cluster.in_network(|| http::get(at, "/slow")));
                http::get(at, "/")?;
                pod.delete()?;
                asked.join().expect("no panic")
            })
        })?;
        ensure!(answer == (200, "slept\n".to_string()), "{answer:?}");
        let end = pod
            .until(|pod| pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object());
        // It may be gone by now, which is as well.
        if let Ok(end) = end {
            let code = &end["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
            ensure!(*code == 0, "{end}");
        }
        pod.gone()
    })
}

fn at_once(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("sleep")?, &[]).spec(json!({ "terminationGracePeriodSeconds": 60 }));
    each(c, &pod, |pod| {
        pod.ready()?;
        let begin = Instant::now();
        pod.delete()?;
        pod.gone()?;
        ensure!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        Ok(())
    })
}

fn resize(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("sleep")?, &[]).main(json!({ "resources": {
        "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "200m", "memory": "64Mi" },
    }}));
    each(c, &pod, |pod| {
        pod.ready()?;
        pod.change(Some("resize"), json!({ "spec": { "containers": [{ "name": "main", "resources": {
            "requests": { "cpu": "150m", "memory": "96Mi" }, "limits": { "cpu": "300m", "memory": "96Mi" },
        }}]}}))?;
        let seen = pod.until(|pod| {
            pod["status"]["containerStatuses"][0]["resources"]["limits"]
                == json!({ "cpu": "300m", "memory": "96Mi" })
        })?;
        ensure!(seen["status"]["containerStatuses"][0]["restartCount"] == 0, "{seen}");
        ensure!(condition(&seen, "PodResizePending").is_empty(), "{seen}");
        // What the kernel holds it to.
        let main = pod.process()?;
        let limit = main.cgroup_file("memory", "memory.limit_in_bytes", "memory.max")?;
        ensure!(limit.trim() == (96 << 20).to_string(), "{limit}");
        let quota = main.cgroup_file("cpu", "cpu.cfs_quota_us", "cpu.max")?;
        ensure!(quota.trim().starts_with("30000"), "{quota}");
        // And what it could use, it still can.
        let zeros = pod.done(&["head", "-c", "4", "/dev/zero"])?;
        ensure!(zeros == "\0\0\0\0", "{zeros:?}");
        Ok(())
    })
}

fn qos(c: &Cluster) -> Result<()> {
    let image = c.guest("sleep")?;
    let classes = [
        ("Guaranteed", json!({ "limits": { "cpu": "100m", "memory": "64Mi" }}), ""),
        ("Burstable", json!({ "requests": { "cpu": "100m" }}), "burstable"),
        ("BestEffort", json!({}), "besteffort"),
    ];
    for node in &c.nodes {
        for (class, resources, folder) in &classes {
            let pod = of(&image, &[]).main(json!({ "resources": resources })).on(c, node)?;
            let seen = pod.ready()?;
            ensure!(seen["status"]["qosClass"] == *class, "{seen}");
            let path = pod.process()?.cgroup("memory").context("in no cgroup")?;
            let path = path.display().to_string();
            let others = ["burstable", "besteffort"].iter().filter(|one| path.contains(**one));
            ensure!(
                path.contains("kubepods")
                    && others.eq([folder].iter().filter(|f| !f.is_empty()).copied()),
                "{path}"
            );
        }
    }
    Ok(())
}
