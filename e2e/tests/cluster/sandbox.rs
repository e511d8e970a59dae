//! The pod around its containers: namespaces, names, settings, its class, and what it weighs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, condition};
use wherry_e2e::http;
use wherry_e2e::suite::{Case, For};

use crate::pod::{Object, containers, each, of, script};
use crate::volumes::data;

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("the_sandbox_is_one_small_process", For::Wherry, small),
    ("a_sandbox_of_the_shims_own_is_no_process", For::Wherry, no_process),
    ("a_pod_with_users_of_its_own_has_no_root_of_the_node", For::Any, own_users),
    ("a_pod_with_users_of_its_own_has_every_kind_of_volume", For::Any, own_users_volumes),
    ("pods_of_two_nodes_reach_each_other", For::Wherry, between_nodes),
    ("traffic_goes_through_the_pods_own_network", For::Any, own_network),
    ("host_network_is_the_nodes", For::Wherry, host_network),
    ("host_pid_and_host_ipc_are_the_nodes", For::Any, host_pid),
    ("a_host_port_leads_to_the_container", For::Wherry, host_port),
    ("names_are_what_the_pod_says", For::Any, names),
    ("a_host_alias_is_resolved", For::Any, alias),
    ("sysctls_are_the_pods", For::Any, sysctls),
    ("a_sandbox_of_the_shims_own_has_the_pods_settings", For::Wherry, own_sandbox),
    ("the_pods_own_limits_hold_its_containers", For::Any, pod_limits),
    ("a_runtime_class_has_overhead_and_chooses_nodes", For::Any, class),
    ("pod_security_restricted_is_accepted", For::Any, restricted),
];

/// The proportional set size of a process, in bytes.
fn pss(pid: u32) -> Result<u64> {
    let all = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = all.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn small(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("sleep")?, &[]), |pod| {
        pod.ready()?;
        let main = pod.process()?.pid;
        let others: Vec<_> = pod.processes()?.into_iter().filter(|one| one.pid != main).collect();
        // The shim may be in the pod's cgroup too.
        let sandbox: Vec<_> = others.iter().filter(|one| !one.name.contains("shim")).collect();
        ensure!(sandbox.len() == 1, "{others:?}");
        let (pid, name) = (sandbox[0].pid, &sandbox[0].name);
        let program = fs::read_link(format!("/proc/{pid}/exe"))?;
        ensure!(
            program.to_string_lossy().contains("containerd-shim-wherry-v1"),
            "{name}: {program:?}"
        );
        let weight = pss(pid)?;
        ensure!(weight < 512 << 10, "{weight} bytes");
        Ok(())
    })
}

/// A class of its own for the handler with `sandboxer = "shim"`, which containerd 2.x has.
fn sandboxed<'a>(c: &'a Cluster, name: &str) -> Result<Object<'a>> {
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": { "name": name }, "handler": "wherry-sandbox",
    });
    Object::new(c, class)
}

fn no_process(c: &Cluster) -> Result<()> {
    let _class = sandboxed(c, "wherry-sandbox")?;
    let pod = containers(json!([
        { "name": "main", "image": c.guest("http-p2")?,
          "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 }},
        { "name": "tools", "image": c.toolbox()?, "args": ["sh", "-c", "hostname; sleep 1000"] },
    ]));
    let pod = pod.spec(json!({ "runtimeClassName": "wherry-sandbox" })).on(c, c.node("new"))?;
    pod.ready()?;
    let all = pod.processes()?;
    let (shims, guests): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.name.contains("shim"));
    ensure!(guests.len() == 2 && shims.len() <= 1, "{all:?}");
    ensure!(pod.logs(&["-c", "tools"])? == pod.name);
    let asked = ["exec", &pod.name, "-c", "tools", "--", "wget", "-qO-", "http://127.0.0.1:8080/"];
    ensure!(c.ask(&asked)? == "Hello, WASI!");
    pod.delete()?;
    pod.gone()
}

/// `hostUsers: false`, which containerd 1.7 has no id-mapped mounts for.
fn own_users(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo kept > /v/file; ls -ln /v; sleep 1000")?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }]}));
    let pod = pod.spec(json!({ "hostUsers": false, "volumes": [{ "name": "v", "emptyDir": {} }] }));
    let pod = pod.on(c, c.node("new"))?;
    let said = pod.says("file")?;
    ensure!(said.contains(" 0 ") && !said.contains("65534"), "{said}");
    let main = pod.process()?;
    let map = fs::read_to_string(format!("/proc/{}/uid_map", main.pid))?;
    let mut map = map.split_whitespace();
    // Its root, whom that is outside, and how many there are.
    let (root, outside, many) = (map.next(), map.next(), map.next());
    ensure!(root == Some("0") && outside != Some("0") && many == Some("65536"), "{map:?}");
    // kubelet's folder belongs to the node's root, and so does what the pod's root wrote there.
    let volumes = pod.node.path(&format!("/var/lib/kubelet/pods/{}/volumes", pod.uid()?));
    let file = volumes.join("kubernetes.io~empty-dir/v/file");
    let owner = fs::metadata(&file).with_context(|| file.display().to_string())?.uid();
    ensure!(owner == 0, "{owner}");
    Ok(())
}

fn own_users_volumes(c: &Cluster) -> Result<()> {
    let node = c.node("new");
    fs::create_dir_all(node.path("/run/of-users"))?;
    fs::write(node.path("/run/of-users/in"), "of the node\n")?;
    let kept = |kind, field, value| data(kind, "of-users", field, json!({ "key": value }));
    let _map = Object::new(c, kept("ConfigMap", "data", "of a map\n"))?;
    let _secret = Object::new(c, kept("Secret", "stringData", "of a secret\n"))?;
    let volumes = json!([
        { "name": "map", "configMap": { "name": "of-users" }},
        { "name": "secret", "secret": { "secretName": "of-users", "defaultMode": 0o400 }},
        { "name": "all", "projected": { "sources": [
            { "configMap": { "name": "of-users" }},
            { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.name" }}]}},
        ]}},
        { "name": "node", "hostPath": { "path": "/run/of-users" }},
        { "name": "memory", "emptyDir": { "medium": "Memory" }},
    ]);
    let names = ["map", "secret", "all", "node", "memory"];
    let mounts = names.map(|name| json!({ "name": name, "mountPath": format!("/{name}") }));
    let read = "cat /map/key /secret/key /all/key /node/in && echo out > /node/out && echo 1 > /memory/file && \
                cat /memory/file && ls -ln /node/out /map/..data/key; cat /all/name";
    let pod = script(c, read)?.main(json!({ "volumeMounts": mounts }));
    let pod = pod.spec(json!({ "hostUsers": false, "volumes": volumes })).on(c, node)?;
    let said = pod.said()?;
    let files = "of a map\nof a secret\nof a map\nof the node\n1\n";
    ensure!(said.starts_with(files) && said.ends_with(&pod.name), "{said}");
    ensure!(!said.contains("65534"), "{said}");
    // Ids are mapped both ways: what the pod's root writes is the node's root's.
    let owner = fs::metadata(node.path("/run/of-users/out"))?.uid();
    ensure!(owner == 0, "{owner}");
    Ok(())
}

fn between_nodes(c: &Cluster) -> Result<()> {
    let service = of(&c.guest("http-p2")?, &[]);
    for (here, there) in c.nodes.iter().zip(c.nodes.iter().rev()) {
        let service = service.on(c, there)?;
        service.ready()?;
        let at = service.socket(8080)?;
        c.in_network(|| http::listening(at))?;
        let asks = script(c, &format!("wget -qO- http://{at}/"))?.on(c, here)?;
        let said = asks.said()?;
        ensure!(said == "Hello, WASI!", "from {} to {}: {said}", here.name(), there.name());
    }
    Ok(())
}

fn own_network(c: &Cluster) -> Result<()> {
    each(c, &of(&c.guest("sleep")?, &[]), |pod| {
        pod.ready()?;
        let main = pod.process()?;
        for kind in ["net", "ipc", "uts"] {
            let node = fs::read_link(format!("/proc/{}/ns/{kind}", pod.node.leader()))?;
            ensure!(main.namespace(kind)? != node, "{kind}");
        }
        // The one that CNI made, and no other.
        let own = main.namespace("net")?;
        let all = pod.processes()?;
        let sandbox = all.iter().filter(|one| !one.name.contains("shim"));
        for one in sandbox {
            ensure!(one.namespace("net")? == own, "{one:?}");
        }
        let address = pod.socket(0)?.ip().to_string();
        let shown = pod.node.ask(&[
            "nsenter",
            &format!("--net=/proc/{}/ns/net", pod.inside(main.pid)?),
            "ip",
            "-o",
            "-4",
            "addr",
        ])?;
        ensure!(shown.contains(&address), "{shown}");
        Ok(())
    })
}

fn host_network(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("http-p2")?, &[]).spec(json!({ "hostNetwork": true }));
    let pod = pod.metadata(json!({ "annotations": { "wherry.dev/http.listen": "0.0.0.0:18080" }}));
    each(c, &pod, |pod| {
        pod.ready()?;
        let at = pod.socket(18080)?;
        ensure!(at.ip().to_string() == pod.node.about.address().to_string(), "{at}");
        pod.cluster.in_network(|| http::listening(at))?;
        let answer = pod.cluster.in_network(|| http::get(at, "/"))?;
        ensure!(answer.0 == 200, "{answer:?}");
        Ok(())
    })
}

fn host_pid(c: &Cluster) -> Result<()> {
    let pod = containers(json!([
        { "name": "main", "image": c.guest("sleep")? },
        { "name": "looks", "image": c.native()?, "args": ["sleep", "1000"] },
    ]));
    each(c, &pod.spec(json!({ "hostPID": true, "hostIPC": true })), |pod| {
        pod.ready()?;
        let first =
            pod.cluster.ask(&["exec", &pod.name, "-c", "looks", "--", "cat", "/proc/1/comm"])?;
        ensure!(first == "systemd", "{first}");
        let main = pod.process()?;
        for kind in ["pid", "ipc"] {
            let node = fs::read_link(format!("/proc/{}/ns/{kind}", pod.node.leader()))?;
            ensure!(main.namespace(kind)? == node, "{kind}");
        }
        Ok(())
    })
}

fn host_port(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("http-p2")?, &[]);
    let pod = pod.main(json!({ "ports": [{ "containerPort": 8080, "hostPort": 18081 }]}));
    each(c, &pod, |pod| {
        pod.ready()?;
        let at = std::net::SocketAddr::from((pod.node.about.address(), 18081));
        pod.cluster.in_network(|| http::listening(at))?;
        ensure!(pod.cluster.in_network(|| http::get(at, "/"))?.0 == 200);
        Ok(())
    })
}

fn names(c: &Cluster) -> Result<()> {
    let pod = script(c, "hostname; grep test /etc/hosts; cat /etc/resolv.conf")?;
    let pod = pod.spec(json!({
        "hostname": "named", "subdomain": "below", "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["192.0.2.1"], "searches": ["a.test"], "options": [{ "name": "ndots", "value": "3" }]},
        "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["alias.test"] }],
    }));
    each(c, &pod, |pod| {
        let said = pod.said()?;
        let wanted = [
            "named",
            "192.0.2.7\talias.test",
            "search a.test",
            "nameserver 192.0.2.1",
            "options ndots:3",
        ];
        ensure!(said.lines().eq(wanted), "{said}");
        Ok(())
    })?;
    // And what it says by default: the cluster's own.
    each(c, &script(c, "cat /etc/resolv.conf; hostname")?, |pod| {
        let said = pod.said()?;
        let dns = wherry_e2e::cluster::files::DNS;
        ensure!(said.contains(&format!("nameserver {dns}")), "{said}");
        ensure!(said.contains("search default.svc.cluster.local"), "{said}");
        ensure!(said.ends_with(&pod.name), "{said}");
        Ok(())
    })
}

fn alias(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("lookup")?, &["alias.test"]);
    let pod =
        pod.spec(json!({ "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["alias.test"] }]}));
    each(c, &pod, |pod| {
        let said = pod.said()?;
        ensure!(said == "alias.test: 192.0.2.7", "{said}");
        Ok(())
    })
}

fn sysctls(c: &Cluster) -> Result<()> {
    let set = json!([
        { "name": "net.ipv4.ip_unprivileged_port_start", "value": "79" },
        { "name": "kernel.shm_rmid_forced", "value": "1" },
        { "name": "net.core.somaxconn", "value": "1234" },
    ]);
    let pod = containers(json!([
        { "name": "main", "image": c.guest("sleep")? },
        { "name": "looks", "image": c.native()?, "args": ["sleep", "1000"] },
    ]));
    each(c, &pod.spec(json!({ "securityContext": { "sysctls": set }})), |pod| {
        pod.ready()?;
        let files =
            ["net/ipv4/ip_unprivileged_port_start", "kernel/shm_rmid_forced", "net/core/somaxconn"];
        let files = files.map(|file| format!("/proc/sys/{file}"));
        let words =
            ["exec", &pod.name, "-c", "looks", "--", "cat", &files[0], &files[1], &files[2]];
        ensure!(pod.cluster.ask(&words)? == "79\n1\n1234");
        Ok(())
    })
}

/// With no process of the pod, with one for shared processes, and with one for users of its own.
fn own_sandbox(c: &Cluster) -> Result<()> {
    let _class = sandboxed(c, "wherry-sandbox-settings")?;
    let set = json!([
        { "name": "kernel.shm_rmid_forced", "value": "1" },
        { "name": "net.core.somaxconn", "value": "1234" },
    ]);
    for more in [json!({}), json!({ "shareProcessNamespace": true }), json!({ "hostUsers": false })]
    {
        let pod = containers(json!([
            { "name": "main", "image": c.guest("sleep")? },
            { "name": "looks", "image": c.native()?, "args": ["sleep", "1000"] },
        ]));
        let pod = pod.spec(json!({
            "runtimeClassName": "wherry-sandbox-settings", "securityContext": { "sysctls": set },
        }));
        let pod = pod.spec(more.clone()).on(c, c.node("new"))?;
        pod.ready()?;
        let words = [
            "exec",
            &pod.name,
            "-c",
            "looks",
            "--",
            "cat",
            "/proc/sys/kernel/shm_rmid_forced",
            "/proc/sys/net/core/somaxconn",
        ];
        ensure!(c.ask(&words)? == "1\n1234", "{more}");
        pod.delete()?;
        pod.gone()?;
    }
    Ok(())
}

fn pod_limits(c: &Cluster) -> Result<()> {
    let pod = of(&c.guest("sleep")?, &[]);
    let pod = pod.spec(json!({ "resources": { "limits": { "cpu": "500m", "memory": "128Mi" }}}));
    each(c, &pod, |pod| {
        pod.ready()?;
        let folder = pod.process()?.cgroup("memory").context("in no cgroup")?;
        let above = folder.parent().context("no pod")?;
        let read = |name: &str| fs::read_to_string(above.join(name));
        let limit = read("memory.limit_in_bytes").or_else(|_| read("memory.max"))?;
        ensure!(limit.trim() == (128 << 20).to_string(), "{limit}");
        Ok(())
    })
}

fn class(c: &Cluster) -> Result<()> {
    let handler = if c.runtime == wherry_e2e::rig::Runtime::Wherry { "wherry" } else { "runc" };
    let _class = Object::new(
        c,
        json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "chosen" },
            "handler": handler,
            "overhead": { "podFixed": { "cpu": "10m", "memory": "8Mi" }},
            "scheduling": { "nodeSelector": { "e2e/containerd": "2.4" }},
        }),
    )?;
    let pod = of(&c.guest("sleep")?, &[])
        .main(json!({ "resources": { "limits": { "cpu": "100m", "memory": "64Mi" }}}));
    // The class is asked to, not the test.
    let pod = pod.spec(json!({ "runtimeClassName": "chosen", "nodeSelector": Value::Null }));
    let pod = pod.on(c, c.node("new"))?;
    let seen = pod.ready()?;
    ensure!(seen["spec"]["nodeName"] == "new", "{seen}");
    ensure!(seen["spec"]["overhead"] == json!({ "cpu": "10m", "memory": "8Mi" }), "{seen}");
    let folder = pod.process()?.cgroup("memory").context("in no cgroup")?;
    let above = folder.parent().context("no pod")?;
    let read = |name: &str| fs::read_to_string(above.join(name));
    let limit = read("memory.limit_in_bytes").or_else(|_| read("memory.max"))?;
    ensure!(limit.trim() == (72 << 20).to_string(), "{limit}");
    Ok(())
}

fn restricted(c: &Cluster) -> Result<()> {
    let _namespace = Object::new(
        c,
        json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": "restricted", "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            },
        }),
    )?;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": "restricted" }});
    c.api.until(&account, crate::pod::LIMIT, |_| true)?;
    let here = json!({ "namespace": "restricted" });
    let bare = of(&c.guest("hello")?, &[]).metadata(here.clone());
    let refused =
        bare.on(c, c.node("old")).err().context("a pod that claims nothing is accepted")?;
    ensure!(format!("{refused:#}").contains("restricted"), "{refused:#}");
    let strict = bare.spec(json!({ "securityContext": {
        "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
    }}));
    let strict = strict.main(json!({ "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
    }}));
    for node in &c.nodes {
        let pod = strict.on(c, node)?;
        let seen = pod.ended()?;
        ensure!(
            seen["status"]["phase"] == "Succeeded" && condition(&seen, "Ready") == "False",
            "{seen}"
        );
    }
    Ok(())
}
