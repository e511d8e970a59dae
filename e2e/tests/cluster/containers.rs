//! Several containers in a pod, of both kinds, in all the ways that a pod can have them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};

use crate::pod::{Pod, containers, each, of, script};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("containers_of_a_pod_share_its_network_and_volumes", For::Any, share),
    ("a_native_sidecar_works_beside_a_wasm_container", For::Any, mixed),
    ("a_device_that_nobody_gave_is_not_opened", For::Any, devices),
    ("init_containers_run_one_after_another_before_the_others", For::Any, init),
    ("an_init_container_that_fails_fails_the_pod", For::Any, init_fails),
    ("a_restartable_init_container_serves_the_others_and_ends_after_them", For::Wherry, sidecar),
    ("kubectl_debug_adds_a_native_and_a_wasm_container", For::Any, debug),
    // What reaps there is the sandbox: of runc it is an image, and ours for runc reaps nothing.
    ("shared_processes_are_seen_by_all_containers", For::Wherry, processes),
];

/// Where containers of a pod meet.
const MEETING: &str = "/meet";

fn volume() -> Value {
    json!([{ "name": "meet", "emptyDir": {} }])
}

fn mounted() -> Value {
    json!([{ "name": "meet", "mountPath": MEETING }])
}

fn share(c: &Cluster) -> Result<()> {
    let image = c.toolbox()?;
    let serve = "echo by network > /meet/index.html && exec httpd -f -p 8000 -h /meet";
    let ask = "until wget -q -O - http://127.0.0.1:8000/ 2>/dev/null; do sleep 0.1; done; \
        until [ -s /meet/file ]; do sleep 0.1; done; cat /meet/file";
    let pod = containers(json!([
        { "name": "asks", "image": image, "args": ["sh", "-c", ask], "volumeMounts": mounted() },
        { "name": "serves", "image": image, "args": ["sh", "-c", serve], "volumeMounts": mounted() },
        { "name": "writes", "image": image, "args": ["sh", "-c", "echo by file > /meet/file; sleep 1000"],
          "volumeMounts": mounted() },
    ]));
    each(c, &pod.spec(json!({ "volumes": volume() })), |pod| {
        pod.until(|pod| state(pod, "asks")["terminated"]["exitCode"] == 0)?;
        let said = pod.logs(&["-c", "asks"])?;
        ensure!(said == "by network\nby file", "{said:?}");
        Ok(())
    })
}

/// The state of a container by name.
pub(crate) fn state(pod: &Value, name: &str) -> Value {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let all = lists.iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let mut found = all.filter(|status| status["name"] == name);
    found.next().map_or(Value::Null, |status| status["state"].clone())
}

fn mixed(c: &Cluster) -> Result<()> {
    let native = "until [ -s /meet/question ]; do sleep 0.1; done; sed s/ping/pong/ /meet/question > /meet/new; \
                  mv /meet/new /meet/answer; sleep 1000";
    let wasm = "echo ping > /meet/question; until [ -f /meet/answer ]; do sleep 0.1; done; cat /meet/answer";
    let pod = containers(json!([
        { "name": "main", "image": c.toolbox()?, "args": ["sh", "-c", wasm], "volumeMounts": mounted() },
        { "name": "side", "image": c.native()?, "args": ["sh", "-c", native], "volumeMounts": mounted() },
    ]));
    each(c, &pod.spec(json!({ "volumes": volume() })), |pod| {
        pod.until(|pod| state(pod, "main")["terminated"]["exitCode"] == 0)?;
        ensure!(pod.logs(&["-c", "main"])? == "pong");
        // The other is a native one, and is still there.
        let output =
            pod.cluster.ask(&["exec", &pod.name, "-c", "side", "--", "cat", "/proc/1/comm"])?;
        ensure!(output == "sleep", "{output:?}");
        Ok(())
    })
}

/// systemd writes the rules of all groups of a pod when one of them has some.
fn devices(c: &Cluster) -> Result<()> {
    for node in &c.nodes {
        node.ask(&["sh", "-c", "[ -e /var/tmp/loop ] || mknod /var/tmp/loop c 10 237"])?;
    }
    let mounts = json!([{ "name": "device", "mountPath": "/loop" }]);
    let pod = containers(json!([
        { "name": "main", "image": c.toolbox()?, "args": ["sleep", "1000"], "volumeMounts": mounts },
        { "name": "side", "image": c.native()?, "args": ["sleep", "1000"], "volumeMounts": mounts },
    ]));
    let pod = pod.spec(json!({ "volumes": [
        { "name": "device", "hostPath": { "path": "/var/tmp/loop", "type": "CharDevice" }},
    ]}));
    each(c, &pod, |pod| {
        pod.ready()?;
        pod.node.ask(&["sh", "-c", "[ ! -d /run/systemd/system ] || systemctl daemon-reload"])?;
        for container in ["main", "side"] {
            let words = ["exec", &pod.name, "-c", container, "--", "head", "-c", "1", "/loop"];
            let output = pod.cluster.kubectl(&words, "")?;
            ensure!(output.stderr.contains("Operation not permitted"), "{container}: {output}");
        }
        let words = ["exec", &pod.name, "-c", "main", "--", "head", "-c", "1", "/dev/zero"];
        ensure!(pod.cluster.ask(&words)? == "\0");
        Ok(())
    })
}

fn init(c: &Cluster) -> Result<()> {
    let pod = script(c, "cat /meet/first /meet/second")?.main(json!({ "volumeMounts": mounted() }));
    let pod = pod.spec(json!({ "volumes": volume(), "initContainers": [
        { "name": "first", "image": c.native()?, "args": ["sh", "-c", "echo native > /meet/first"],
          "volumeMounts": mounted() },
        { "name": "second", "image": c.toolbox()?, "args": ["sh", "-c", "test -f /meet/first && echo wasm > /meet/second"],
          "volumeMounts": mounted() },
    ]}));
    each(c, &pod, |pod| {
        ensure!(pod.said()? == "native\nwasm", "{:?}", pod.said()?);
        let seen = pod.seen()?;
        ensure!(state(&seen, "first")["terminated"]["reason"] == "Completed", "{seen}");
        Ok(())
    })
}

fn init_fails(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo never")?;
    let pod = pod.spec(json!({ "initContainers": [
        { "name": "first", "image": c.guest("exit")?, "args": ["3"] },
    ]}));
    each(c, &pod, |pod| {
        let seen = pod.ended()?;
        ensure!(seen["status"]["phase"] == "Failed", "{seen}");
        ensure!(state(&seen, "first")["terminated"]["exitCode"] == 3, "{seen}");
        ensure!(state(&seen, "main")["waiting"]["reason"] == "PodInitializing", "{seen}");
        Ok(())
    })
}

fn sidecar(c: &Cluster) -> Result<()> {
    let pod = script(c, "wget -q -O - http://127.0.0.1:8080/")?;
    let pod = pod.spec(json!({ "initContainers": [{
        "name": "side", "image": c.guest("http-p2")?, "restartPolicy": "Always",
        "startupProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
    }]}));
    each(c, &pod, |pod| {
        let seen = pod.ended()?;
        // What it waited for was there, and its end does not fail the pod.
        ensure!(seen["status"]["phase"] == "Succeeded", "{seen}");
        ensure!(pod.logs(&["-c", "main"])? == "Hello, WASI!");
        let side = pod.until(|pod| state(pod, "side")["terminated"].is_object())?;
        ensure!(state(&side, "side")["terminated"]["exitCode"] == 0, "{side}");
        Ok(())
    })
}

/// What the guest `sleep` is called among processes.
fn process(pod: &Pod) -> &'static str {
    match pod.cluster.runtime {
        Runtime::Wherry => "wherry-guest",
        Runtime::Runc => "sleep",
    }
}

fn debug(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("sleep")?, &[]), |pod| {
        pod.ready()?;
        let (native, tools) = (pod.cluster.native()?, pod.cluster.toolbox()?);
        let add = |name: &str, image: &str, script: &str| {
            let image = format!("--image={image}");
            let name = format!("--container={name}");
            let words = [
                "debug",
                &pod.name,
                &image,
                &name,
                "--target=main",
                "--profile=general",
                "--",
                "sh",
                "-c",
                script,
            ];
            pod.cluster.ask(&words)
        };
        // PID 1 that it sees is the program it looks at.
        add("native", &native, "cat /proc/1/comm")?;
        add("tools", &tools, "echo sum $((40+2))")?;
        for (name, wanted) in [("native", process(pod)), ("tools", "sum 42")] {
            pod.until(move |pod| state(pod, name)["terminated"]["exitCode"] == 0)
                .with_context(|| name.to_string())?;
            let said = pod.logs(&["-c", name])?;
            ensure!(said.contains(wanted), "{name}: {said:?}");
        }
        ensure!(pod.seen()?["status"]["containerStatuses"][0]["restartCount"] == 0);
        Ok(())
    })
}

fn processes(c: &Cluster) -> Result<()> {
    let pod = containers(json!([
        { "name": "main", "image": c.guest("sleep")?, "args": ["1000"] },
        { "name": "looks", "image": c.native()?, "args": ["sh", "-c", "echo begun; sleep 1000"] },
    ]));
    each(c, &pod.spec(json!({ "shareProcessNamespace": true })), |pod| {
        pod.ready()?;
        let ps =
            pod.cluster.ask(&["exec", &pod.name, "-c", "looks", "--", "ps", "-o", "pid,comm"])?;
        let main = process(pod);
        ensure!(ps.contains(main) && ps.lines().count() >= 5, "{ps}");
        // The sandbox is the first, and reaps what the others leave.
        let first = ps.lines().find(|line| line.trim().starts_with("1 ")).context("no PID 1")?;
        ensure!(!first.contains(main), "{ps}");
        let orphan = "(sh -c 'sh -c \"exit 0\" & exit 0'); until ! ps -o stat | grep -q Z; do sleep 0.1; done";
        pod.cluster.ask(&["exec", &pod.name, "-c", "looks", "--", "sh", "-c", orphan])?;
        Ok(())
    })
}
