//! What people do to a pod with kubectl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::command::until;
use wherry_e2e::http;
use wherry_e2e::suite::{Case, For};
use wherry_e2e::terminal::Person;

use crate::pod::{LIMIT, Wanted, each, of, script};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("logs_are_followed_to_the_end", For::Any, follow),
    ("logs_of_the_container_before_are_kept", For::Any, previous),
    ("logs_tell_times_and_the_last_lines", For::Any, tail),
    ("exec_has_streams_and_an_exit_code", For::Any, exec),
    ("exec_it_is_a_shell_at_a_terminal", For::Any, shell),
    ("attach_reaches_the_program", For::Any, attach),
    ("cp_takes_files_in_and_out", For::Any, copy),
    ("port_forward_reaches_a_service", For::Wherry, forward),
    ("debug_copies_a_pod", For::Any, debug_copy),
    ("top_has_its_numbers", For::Any, top),
    ("describe_explains_what_happened", For::Any, describe),
    ("events_name_a_setting_that_is_refused", For::Wherry, describe_refusal),
];

fn follow(c: &Cluster) -> Result<()> {
    let pod = script(c, "for n in $(seq 5); do echo line $n; sleep 0.2; done; echo error >&2")?;
    each(c, &pod, |pod| {
        pod.until(|pod| !pod["status"]["containerStatuses"][0]["state"]["waiting"].is_object())?;
        let said = pod.logs(&["-f"])?;
        ensure!(said == "line 1\nline 2\nline 3\nline 4\nline 5\nerror", "{said:?}");
        Ok(())
    })
}

fn previous(c: &Cluster) -> Result<()> {
    let pod = script(
        c,
        "echo life $(ls /v | wc -l); touch /v/$(ls /v | wc -l); [ -f /v/1 ] || exit 1; sleep 1000",
    )?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }]}));
    let pod =
        pod.spec(json!({ "restartPolicy": "Always", "volumes": [{ "name": "v", "emptyDir": {} }]}));
    each(c, &pod, |pod| {
        pod.until(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"] == 1 && status["state"]["running"].is_object()
        })?;
        pod.says("life 1")?;
        ensure!(pod.logs(&["--previous"])? == "life 0");
        Ok(())
    })
}

fn tail(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("lines")?, &["2000"]), |pod| {
        pod.ended()?;
        let last = pod.logs(&["--tail=2", "--timestamps"])?;
        ensure!(last.lines().count() == 2, "{last}");
        // 2026-11-23T10:11:12.131415Z and the line.
        ensure!(last.lines().all(|line| line.get(10..11) == Some("T")), "{last}");
        let all = pod.logs(&[])?;
        ensure!(all.lines().filter(|line| line.starts_with("line ")).count() == 2000);
        ensure!(all.lines().filter(|line| line.starts_with("error ")).count() == 200);
        Ok(())
    })
}

/// Something that stays and can be asked.
fn idle(c: &Cluster) -> Result<Wanted> {
    script(c, "echo begun; sleep 1000")
}

fn exec(c: &Cluster) -> Result<()> {
    each(c, &idle(c)?, |pod| {
        pod.ready()?;
        let output = pod.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
        ensure!(output.code == 3 && output.stdout == "out\n", "{output}");
        ensure!(
            output.stderr.contains("err\n") && output.stderr.contains("exit code 3"),
            "{output}"
        );
        let output = pod
            .cluster
            .kubectl(&["exec", "-i", &pod.name, "--", "wc", "-c"], &"x".repeat(100_000))?;
        ensure!(output.clone().ok()?.stdout.trim() == "100000", "{output}");
        let output = pod.exec(&["no-such-tool"])?;
        ensure!(output.code != 0 && output.stderr.contains("no-such-tool"), "{output}");
        Ok(())
    })
}

fn shell(c: &Cluster) -> Result<()> {
    each(c, &idle(c)?, |pod| {
        pod.ready()?;
        let mut person = Person::at(pod.cluster.client(&["exec", "-it", &pod.name, "--", "sh"])?)?;
        person.types("echo sum $((40+2))\n", "sum 42")?;
        person.types("tty\n", "/dev/")?;
        person.types("exit 5\n", "")?;
        ensure!(person.left()? == 5);
        Ok(())
    })
}

fn attach(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("cat")?, &[]).main(json!({ "stdin": true, "stdinOnce": true }));
    each(c, &pod, |pod| {
        pod.ready()?;
        let output = pod.cluster.kubectl(&["attach", "-i", &pod.name], "there and back\n")?.ok()?;
        ensure!(output.stdout.contains("there and back"), "{output}");
        // Its stdin has ended, once.
        ensure!(pod.end()?["exitCode"] == 0);
        Ok(())
    })
}

fn copy(c: &Cluster) -> Result<()> {
    each(c, &idle(c)?, |pod| {
        pod.ready()?;
        let folder = pod.cluster.place.path(&format!("cp-{}", pod.name));
        fs::create_dir_all(folder.join("in/deep"))?;
        fs::write(folder.join("in/a"), "first")?;
        fs::write(folder.join("in/deep/b"), vec![b'x'; 300_000])?;
        let (from, to) =
            (folder.join("in").display().to_string(), format!("{}:/tmp/there", pod.name));
        pod.cluster.ask(&["cp", &from, &to])?;
        ensure!(pod.done(&["cat", "/tmp/there/a"])? == "first");
        ensure!(pod.done(&["sh", "-c", "wc -c < /tmp/there/deep/b"])? == "300000");
        let back = folder.join("back").display().to_string();
        pod.cluster.ask(&["cp", &to, &back])?;
        ensure!(fs::read(folder.join("back/deep/b"))? == vec![b'x'; 300_000]);
        Ok(())
    })
}

/// A kubectl that goes on until the test lets go of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn forward(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("http-p2")?, &[]), |pod| {
        pod.ready()?;
        let name = format!("pod/{}", pod.name);
        let mut client = pod.cluster.client(&["port-forward", &name, ":8080"])?;
        let mut client = Running(client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let mut line = String::new();
        // Kept open: it tells of each connection.
        let mut out = BufReader::new(client.0.stdout.take().context("piped")?);
        out.read_line(&mut line)?;
        // Forwarding from 127.0.0.1:40000 -> 8080
        let at = line.split(' ').find_map(|word| word.parse::<SocketAddr>().ok());
        let at = at.with_context(|| line.clone())?;
        for _ in 0..3 {
            let answer = pod.cluster.in_network(|| http::get(at, "/"))?;
            ensure!(answer == (200, "Hello, WASI!\n".to_string()), "{answer:?}");
        }
        Ok(())
    })
}

fn debug_copy(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("exit")?, &["9"]), |pod| {
        pod.end()?;
        let (tools, copy) = (pod.cluster.toolbox()?, format!("{}-copy", pod.name));
        let (to, image) = (format!("--copy-to={copy}"), format!("--set-image=main={tools}"));
        pod.cluster.ask(&[
            "debug",
            &pod.name,
            &to,
            "--container=main",
            &image,
            "--",
            "sh",
            "-c",
            "echo looked; sleep 1000",
        ])?;
        let copied = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": copy }});
        let said = until(LIMIT, || {
            let said = pod.cluster.ask(&["logs", &copy]);
            said.is_ok_and(|said| said == "looked")
        });
        let class = pod.cluster.api.get(&copied)?["spec"]["runtimeClassName"].clone();
        pod.cluster.api.delete(&copied)?;
        ensure!(said && class == pod.seen()?["spec"]["runtimeClassName"], "{class}");
        Ok(())
    })
}

/// kubelet's summary, which `kubectl top` and autoscalers are fed with.
fn top(c: &Cluster) -> Result<()> {
    let pod =
        of(&c.guest("spin")?, &[]).main(json!({ "resources": { "limits": { "cpu": "200m" }}}));
    each(c, &pod, |pod| {
        pod.ready()?;
        let mut seen = Value::Null;
        let node = pod.node.name();
        let good = until(LIMIT, || {
            let Ok(all) = pod.cluster.ask(&[
                "get",
                "--raw",
                &format!("/api/v1/nodes/{node}/proxy/stats/summary"),
            ]) else {
                return false;
            };
            let all: Value = serde_json::from_str(&all).unwrap_or_default();
            let pods = all["pods"].as_array().cloned().unwrap_or_default();
            seen =
                pods.into_iter().find(|one| one["podRef"]["name"] == pod.name).unwrap_or_default();
            let main = &seen["containers"][0];
            let number = |value: &Value| value.as_u64().unwrap_or_default();
            // A fifth of a processor is what it may have.
            let cpu = number(&main["cpu"]["usageNanoCores"]);
            (50_000_000..300_000_000).contains(&cpu)
                && number(&main["memory"]["workingSetBytes"]) > 100_000
                && number(&seen["cpu"]["usageNanoCores"]) > 0
        });
        ensure!(good, "{seen}");
        let metrics = pod.cluster.ask(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{node}/proxy/metrics/resource"),
        ])?;
        let named = format!("pod=\"{}\"", pod.name);
        for metric in [
            "container_cpu_usage_seconds_total",
            "container_memory_working_set_bytes",
            "pod_cpu_usage_seconds_total",
        ] {
            ensure!(
                metrics.lines().any(|line| line.starts_with(metric) && line.contains(&named)),
                "{metric}"
            );
        }
        Ok(())
    })
}

fn describe(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("exit")?, &["7"]), |pod| {
        pod.end()?;
        pod.tells(&["Pulled", "Created", "Started"])?;
        let told = pod.cluster.ask(&["describe", "pod", &pod.name])?;
        for part in ["Reason:", "Error", "Exit Code:", "7", "Pulled", "Created", "Started"] {
            ensure!(told.contains(part), "{part}: {told}");
        }
        Ok(())
    })
}

/// A setting that nobody knows is told where people look.
fn describe_refusal(c: &Cluster) -> Result<()> {
    let wrong = of(&c.guest("hello")?, &[]);
    let wrong = wrong.metadata(json!({ "annotations": { "wherry.dev/no-such": "x" }}));
    for node in &c.nodes {
        let pod = wrong.on(c, node)?;
        pod.tells(&["wherry.dev/no-such"])?;
    }
    Ok(())
}
