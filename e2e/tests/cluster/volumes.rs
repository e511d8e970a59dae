//! What a pod brings into its containers: volumes of every kind, and the environment.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{Case, For};

use crate::pod::{Object, each, of, script};

pub(crate) const CASES: &[Case<Cluster>] = &[
    ("config_maps_and_secrets_are_files", For::Any, configs),
    ("a_config_map_that_changes_changes_in_the_container", For::Any, changes),
    ("projected_volumes_hold_a_token_and_the_pods_own_data", For::Any, projected),
    ("an_empty_dir_in_memory_has_its_limit", For::Any, memory),
    ("a_host_path_is_the_nodes", For::Any, host_path),
    ("sub_paths_are_parts_of_a_volume", For::Any, sub_paths),
    ("an_image_is_a_volume", For::Any, image_volume),
    ("fs_group_owns_the_volumes", For::Any, fs_group),
    ("what_is_read_only_stays_as_it_is", For::Any, read_only),
    ("the_environment_is_what_the_pod_says_and_nothing_else", For::Any, environment),
];

pub(crate) fn data(kind: &str, name: &str, key: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, key: data })
}

fn configs(c: &Cluster) -> Result<()> {
    let _map = Object::new(
        c,
        data("ConfigMap", "files", "data", json!({ "a.conf": "from a map", "b": "x" })),
    )?;
    let _secret =
        Object::new(c, data("Secret", "keys", "stringData", json!({ "key": "from a secret" })))?;
    let pod = script(
        c,
        "cat /etc/app/a.conf; echo; cat /keys/key; echo; ls /etc/app /keys/sub; cat /one",
    )?;
    let pod = pod.main(json!({ "volumeMounts": [
        { "name": "map", "mountPath": "/etc/app" },
        { "name": "secret", "mountPath": "/keys", "readOnly": true },
        { "name": "map", "mountPath": "/one", "subPath": "b" },
    ]}));
    let pod = pod.spec(json!({ "volumes": [
        { "name": "map", "configMap": { "name": "files" }},
        { "name": "secret", "secret": { "secretName": "keys", "defaultMode": 0o440, "items": [
            { "key": "key", "path": "key" }, { "key": "key", "path": "sub/again" },
        ]}},
    ]}));
    each(c, &pod, |pod| {
        let said = pod.said()?;
        ensure!(
            said == "from a map\nfrom a secret\n/etc/app:\na.conf\nb\n\n/keys/sub:\nagain\nx",
            "{said}"
        );
        Ok(())
    })
}

fn changes(c: &Cluster) -> Result<()> {
    let map = Object::new(c, data("ConfigMap", "changing", "data", json!({ "word": "before" })))?;
    let wait = "cat /map/word; until grep -q after /map/word; do sleep 0.2; done; cat /map/word";
    let pod =
        script(c, wait)?.main(json!({ "volumeMounts": [{ "name": "map", "mountPath": "/map" }]}));
    let pod =
        pod.spec(json!({ "volumes": [{ "name": "map", "configMap": { "name": "changing" }}]}));
    let pods = c.nodes.iter().map(|node| pod.on(c, node)).collect::<Result<Vec<_>>>()?;
    for pod in &pods {
        pod.ready()?;
    }
    map.change(json!({ "data": { "word": "after" }}))?;
    for pod in &pods {
        ensure!(pod.said()? == "beforeafter", "{:?}", pod.said()?);
    }
    Ok(())
}

fn projected(c: &Cluster) -> Result<()> {
    let pod = script(
        c,
        "cat /p/name /p/labels; wc -c < /p/cpu; grep -c . /p/token /var/run/secrets/kubernetes.io/serviceaccount/ca.crt | sed 's/.*://'",
    )?;
    let pod = pod.metadata(json!({ "labels": { "app": "reads" }}));
    let pod = pod.main(json!({
        "volumeMounts": [{ "name": "all", "mountPath": "/p" }],
        "resources": { "limits": { "cpu": "2" }},
    }));
    let pod = pod.spec(json!({ "volumes": [{ "name": "all", "projected": { "sources": [
        { "serviceAccountToken": { "path": "token", "audience": "test" }},
        { "downwardAPI": { "items": [
            { "path": "name", "fieldRef": { "fieldPath": "metadata.namespace" }},
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" }},
            { "path": "cpu", "resourceFieldRef": { "containerName": "main", "resource": "limits.cpu" }},
        ]}},
    ]}}]}));
    each(c, &pod, |pod| {
        let said = pod.said()?;
        let mut lines = said.lines();
        ensure!(lines.next() == Some("defaultapp=\"reads\"1"), "{said}");
        ensure!(lines.next() == Some("1"), "{said}");
        ensure!(
            lines.next().is_some_and(|count| count.parse::<u32>().is_ok_and(|n| n > 3)),
            "{said}"
        );
        Ok(())
    })
}

fn memory(c: &Cluster) -> Result<()> {
    let fill = "dd if=/dev/zero of=/m/fits bs=1024 count=512 2>/dev/null && echo fits; \
                dd if=/dev/zero of=/m/more bs=1024 count=4096 2>/dev/null || echo full";
    let pod = script(c, fill)?.main(json!({ "volumeMounts": [{ "name": "m", "mountPath": "/m" }]}));
    let pod = pod.spec(json!({ "volumes": [
        { "name": "m", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" }},
    ]}));
    each(c, &pod, |pod| {
        ensure!(pod.said()? == "fits\nfull", "{:?}", pod.said()?);
        Ok(())
    })
}

fn host_path(c: &Cluster) -> Result<()> {
    for node in &c.nodes {
        fs::create_dir_all(node.path("/var/tmp/of-the-node"))?;
        fs::write(node.path("/var/tmp/of-the-node/in"), "from the node")?;
    }
    let pod = script(c, "cat /host/in > /host/out")?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "host", "mountPath": "/host" }]}));
    let pod = pod.spec(json!({ "volumes": [
        { "name": "host", "hostPath": { "path": "/var/tmp/of-the-node", "type": "Directory" }},
    ]}));
    each(c, &pod, |pod| {
        ensure!(pod.end()?["exitCode"] == 0, "{}", pod.said()?);
        let out = fs::read_to_string(pod.node.path("/var/tmp/of-the-node/out"))?;
        ensure!(out == "from the node", "{out:?}");
        Ok(())
    })
}

fn sub_paths(c: &Cluster) -> Result<()> {
    let pod = script(
        c,
        "echo 1 > /a/file; echo 2 > /b/file; cat /all/one/file /all/of-main/file; ls /all",
    )?;
    let pod = pod.main(json!({
        "env": [{ "name": "ME", "value": "main" }],
        "volumeMounts": [
            { "name": "v", "mountPath": "/all" },
            { "name": "v", "mountPath": "/a", "subPath": "one" },
            { "name": "v", "mountPath": "/b", "subPathExpr": "of-$(ME)" },
        ],
    }));
    let pod = pod.spec(json!({ "volumes": [{ "name": "v", "emptyDir": {} }]}));
    each(c, &pod, |pod| {
        ensure!(pod.said()? == "1\n2\nof-main\none", "{:?}", pod.said()?);
        Ok(())
    })
}

/// containerd mounts them from 2.1 on.
fn image_volume(c: &Cluster) -> Result<()> {
    let pod = script(c, "ls /v; touch /v/x 2>/dev/null || echo read-only")?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }]}));
    let pod = pod
        .spec(json!({ "volumes": [{ "name": "v", "image": { "reference": c.guest("hello")? }}]}));
    let pod = pod.on(c, c.node("new"))?;
    let said = pod.said()?;
    ensure!(said.ends_with("read-only") && said.starts_with("hello"), "{said:?}");
    Ok(())
}

fn fs_group(c: &Cluster) -> Result<()> {
    let pod = script(c, "echo mine > /v/file && cat /v/file; id -u; sleep 1000")?;
    let pod = pod.main(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }]}));
    let pod = pod.spec(json!({
        "securityContext": { "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000 },
        "volumes": [{ "name": "v", "emptyDir": {} }],
    }));
    each(c, &pod, |pod| {
        pod.ready()?;
        pod.says("mine\n1000")?;
        let uid = pod.uid()?;
        let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/v/file");
        let about = fs::metadata(pod.node.path(&file))?;
        ensure!((about.uid(), about.gid()) == (1000, 2000), "{about:?}");
        Ok(())
    })
}

fn read_only(c: &Cluster) -> Result<()> {
    let try_all = "for at in /root-file /ro/file /rw/file; do (echo x > $at) 2>/dev/null && echo $at; done; true";
    let pod = script(c, try_all)?;
    let pod = pod.main(json!({
        "securityContext": { "readOnlyRootFilesystem": true },
        "volumeMounts": [
            { "name": "v", "mountPath": "/ro", "readOnly": true }, { "name": "v", "mountPath": "/rw" },
        ],
    }));
    each(c, &pod.spec(json!({ "volumes": [{ "name": "v", "emptyDir": {} }]})), |pod| {
        ensure!(pod.said()? == "/rw/file", "{:?}", pod.said()?);
        Ok(())
    })
}

fn environment(c: &Cluster) -> Result<()> {
    let _map =
        Object::new(c, data("ConfigMap", "words", "data", json!({ "one": "1", "two": "2" })))?;
    let _secret =
        Object::new(c, data("Secret", "words", "stringData", json!({ "pass": "s3cret" })))?;
    let pod = of(&c.guest("env")?, &[]).main(json!({
        "resources": { "limits": { "memory": "64Mi" }},
        "envFrom": [{ "prefix": "MAP_", "configMapRef": { "name": "words" }}],
        "env": [
            { "name": "PLAIN", "value": "a b" },
            { "name": "OF_OTHERS", "value": "$(PLAIN)-$(MAP_one)" },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "words", "key": "pass" }}},
            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" }}},
            { "name": "LIMIT", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory" }}},
        ],
    }));
    each(c, &pod.spec(json!({ "enableServiceLinks": false })), |pod| {
        let said = pod.said()?;
        // Those of the API server's Service are every pod's.
        let own =
            said.lines().filter(|line| line.contains(" = ") && !line.starts_with("KUBERNETES_"));
        // runc adds what /etc/passwd says of the user.
        let own: Vec<&str> = own
            .filter(|line| pod.cluster.runtime == Runtime::Wherry || !line.starts_with("HOME"))
            .collect();
        let wanted = [
            &format!("HOSTNAME = {}", pod.name),
            "LIMIT = 67108864",
            "MAP_one = 1",
            "MAP_two = 2",
            &format!("NODE = {}", pod.node.name()),
            "OF_OTHERS = a b-1",
            "PATH = /bin:/",
            "PLAIN = a b",
            "SECRET = s3cret",
        ];
        ensure!(own == wanted, "{said}");
        Ok(())
    })
}
