//! An HTTP service as a Deployment on one node, of Wasm with our handler or native with runc.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::image::Form;
use wherry_e2e::rig::Runtime;
use wherry_e2e::{http, measure, recipes};

/// The node: its containerd is the newest.
const NODE: &str = "new";
/// All pods of a node, on two processors, with runc.
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) struct Service<'a> {
    cluster: &'a Cluster,
    pub(crate) name: &'static str,
    /// What stands in the pod besides the image.
    pod: Value,
    container: Value,
}

impl<'a> Service<'a> {
    /// A `wasi:http` component: nothing of it runs between requests.
    pub(crate) fn wasm(cluster: &'a Cluster) -> Result<Service<'a>> {
        let image = cluster.push(&recipes::guest(Runtime::Wherry, "http-p2", Form::Linux)?)?;
        let pod = json!({ "runtimeClassName": "wherry" });
        Ok(Service { cluster, name: "wherry", pod, container: json!({ "image": image }) })
    }

    /// A static program that forks for each request.
    pub(crate) fn native(cluster: &'a Cluster) -> Result<Service<'a>> {
        let image = cluster.native()?;
        let args = ["httpd", "-f", "-p", "8080", "-h", "/etc"];
        let container = json!({ "image": image, "args": args });
        Ok(Service { cluster, name: "runc", pod: json!({}), container })
    }

    /// Its image is on the node, and compiled.
    pub(crate) fn warm(&self) -> Result<()> {
        self.apply(1)?;
        self.answers(1)?;
        self.end()
    }

    /// From `kubectl apply` until all of its pods are Ready.
    pub(crate) fn apply(&self, count: u64) -> Result<Took> {
        let object = self.object(count).to_string();
        let (before, used) = (Instant::now(), self.processor()?);
        self.cluster.kubectl(&["apply", "-f", "-"], &object)?.ok()?;
        self.cluster
            .api
            .until(&self.object(count), LIMIT, move |one| {
                one["status"]["readyReplicas"].as_u64() == Some(count)
            })
            .with_context(|| format!("{count} pods of {}", self.name))?;
        Ok(Took { time: before.elapsed(), processor: self.processor()? - used })
    }

    fn object(&self, count: u64) -> Value {
        let labels = json!({ "app": self.name });
        let mut pod = json!({
            "nodeSelector": { "kubernetes.io/hostname": NODE },
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "containers": [{ "name": "main", "ports": [{ "containerPort": 8080 }] }],
        });
        extend(&mut pod, &self.pod);
        extend(&mut pod["containers"][0], &self.container);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": self.name },
            "spec": { "replicas": count, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod } },
        })
    }

    /// Every one of its pods serves.
    pub(crate) fn answers(&self, count: usize) -> Result<()> {
        let told = self.cluster.ask(&[
            "get",
            "pods",
            "-l",
            &format!("app={}", self.name),
            "-o",
            "jsonpath={.items[*].status.podIP}",
        ])?;
        let addresses: Vec<&str> = told.split_whitespace().collect();
        ensure!(addresses.len() == count, "{} of {count} pods have an address", addresses.len());
        self.cluster.in_network(|| {
            for address in addresses {
                let at: SocketAddr = format!("{address}:8080").parse()?;
                http::listening(at)?;
                let (status, body) = http::get(at, "/passwd")?;
                // Whoever has no such file says so itself.
                ensure!(status == 200 || status == 404, "{address} answers {status}: {body}");
            }
            Ok(())
        })
    }

    /// Nothing of it is on the node any more.
    pub(crate) fn end(&self) -> Result<()> {
        let selector = format!("app={}", self.name);
        self.cluster.api.delete(&self.object(0))?;
        let words = ["wait", "--for=delete", "pod", "-l", &selector, "--timeout=50s"];
        wherry_e2e::command::until(LIMIT, || {
            self.cluster.ask(&words).is_ok() && self.processes().is_empty()
        });
        let left = self.processes();
        ensure!(left.is_empty(), "{} processes of {} are left", left.len(), self.name);
        Ok(())
    }

    /// The folders in `/proc` of everything that is on the node for its pods: shims and what they have started.
    pub(crate) fn processes(&self) -> Vec<PathBuf> {
        let mut parents = HashMap::new();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.node().path("/proc")).into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // Behind the name, which may have anything in it: the state and the parent.
            let rest = stat.rsplit(") ").next().unwrap_or_default();
            let parent = rest.split(' ').nth(1).and_then(|text| text.parse::<u32>().ok());
            parents.insert(pid, parent.unwrap_or_default());
            if is_shim(&entry.path(), self.name) {
                found.push(pid);
            }
        }
        let mut at = 0;
        while let Some(shim) = found.get(at).copied() {
            let children = parents.iter().filter(|(_, parent)| **parent == shim);
            found.extend(children.map(|(pid, _)| *pid));
            at += 1;
        }
        found.into_iter().map(|pid| self.node().path(&format!("/proc/{pid}"))).collect()
    }

    /// Processor time that the node has taken until now, for all that runs on it.
    pub(crate) fn processor(&self) -> Result<Duration> {
        let group = format!("{}-{NODE}", self.cluster.place.tag);
        let hierarchies = Path::new("/sys/fs/cgroup");
        let old = hierarchies.join("cpuacct").join(&group).join("cpuacct.usage");
        if let Ok(nanoseconds) = fs::read_to_string(old) {
            return Ok(Duration::from_nanos(nanoseconds.trim().parse()?));
        }
        let told = fs::read_to_string(hierarchies.join(&group).join("cpu.stat"))?;
        let used = told.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(used.context("usage_usec")?.parse()?))
    }

    fn node(&self) -> &wherry_e2e::cluster::node::Node {
        self.cluster.node(NODE)
    }

    /// What each of `count` pods holds: shared pages in parts (PSS), and what no file stands behind.
    pub(crate) fn memory(&self, count: u32) -> Held {
        let all = self.processes();
        let each = |size: fn(&Path) -> u64| {
            let sum: u64 = all.iter().map(|folder| size(folder)).sum();
            sum as f64 / f64::from(count) / 1e6
        };
        Held {
            processes: all.len() as f64 / f64::from(count),
            all: each(measure::proportional_size),
            anonymous: each(measure::anonymous),
        }
    }
}

/// What it took until pods were Ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// Of the node's processors, for kubelet and containerd, too; of it nobody else has a share.
    pub(crate) processor: Duration,
}

/// Megabytes of one pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) processes: f64,
    pub(crate) all: f64,
    pub(crate) anonymous: f64,
}

fn is_shim(folder: &Path, runtime: &str) -> bool {
    let words = fs::read(folder.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).contains(&format!("containerd-shim-{runtime}-"))
}

fn extend(object: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}
