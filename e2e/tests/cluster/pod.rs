//! A pod of a test: described, made, waited for, asked; deleted when the test lets go of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::node::Node;
use wherry_e2e::cluster::{Cluster, is_ready};
use wherry_e2e::command::{Output, until};
use wherry_e2e::rig::Runtime;

/// A cold start compiles, and several at once on a small machine take their time.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A pod that exists.
pub(crate) struct Pod<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
    pub(crate) node: &'a Node,
    object: Value,
}

/// What a pod is to be: merged from parts, as JSON.
#[derive(Clone)]
pub(crate) struct Wanted(Value);

/// A pod of one container with this image and these args.
pub(crate) fn of(image: &str, args: &[&str]) -> Wanted {
    containers(json!([{ "name": "main", "image": image, "args": args }]))
}

/// A pod of one container that runs a script of the toolbox.
pub(crate) fn script(cluster: &Cluster, script: &str) -> Result<Wanted> {
    Ok(of(&cluster.toolbox()?, &["sh", "-c", script]))
}

pub(crate) fn containers(containers: Value) -> Wanted {
    Wanted(json!({ "metadata": {}, "spec": {
        "containers": containers, "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
    }}))
}

impl Wanted {
    /// Fields of the pod's spec.
    pub(crate) fn spec(mut self, fields: Value) -> Wanted {
        merge(&mut self.0["spec"], fields);
        self
    }

    /// Fields of its first container.
    pub(crate) fn main(mut self, fields: Value) -> Wanted {
        merge(&mut self.0["spec"]["containers"][0], fields);
        self
    }

    pub(crate) fn metadata(mut self, fields: Value) -> Wanted {
        merge(&mut self.0["metadata"], fields);
        self
    }

    /// The whole object, of the runtime under test, on that node.
    pub(crate) fn object(&self, cluster: &Cluster, node: &Node) -> Value {
        let mut object = self.0.clone();
        let name = format!("{}-{}", node.name(), COUNT.fetch_add(1, Ordering::Relaxed));
        merge(&mut object, json!({ "apiVersion": "v1", "kind": "Pod" }));
        merge(&mut object["metadata"], json!({ "name": name }));
        let mut place = json!({ "nodeSelector": { "kubernetes.io/hostname": node.name() } });
        if cluster.runtime == Runtime::Wherry {
            place["runtimeClassName"] = json!("wherry");
        }
        // Said by the test, it stays.
        merge(&mut place, std::mem::take(&mut object["spec"]));
        object["spec"] = place;
        object
    }

    /// Makes it on a node.
    pub(crate) fn on<'a>(&self, cluster: &'a Cluster, node: &'a Node) -> Result<Pod<'a>> {
        let object = self.object(cluster, node);
        cluster.api.create(&object)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
        Ok(Pod { cluster, name, node, object })
    }
}

/// Makes the pod on each node, and does the same with each.
pub(crate) fn each(cluster: &Cluster, pod: &Wanted, test: fn(&Pod) -> Result<()>) -> Result<()> {
    // All first, so that they start beside each other.
    let pods =
        cluster.nodes.iter().map(|node| pod.on(cluster, node)).collect::<Result<Vec<_>>>()?;
    for pod in &pods {
        test(pod).with_context(|| format!("on containerd {}", pod.node.about.containerd.name()))?;
    }
    Ok(())
}

/// Objects into objects; anything else replaces.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

impl Pod<'_> {
    pub(crate) fn until(
        &self,
        wanted: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Result<Value> {
        let seen = self.cluster.api.until(&self.object, LIMIT, wanted);
        seen.with_context(|| self.events().unwrap_or_default())
    }

    /// Waits until it is ready.
    pub(crate) fn ready(&self) -> Result<Value> {
        self.until(is_ready)
    }

    /// Waits until it has ended, well or not.
    pub(crate) fn ended(&self) -> Result<Value> {
        self.until(|pod| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
    }

    /// How its first container ended.
    pub(crate) fn end(&self) -> Result<Value> {
        let pod = self.ended()?;
        Ok(pod["status"]["containerStatuses"][0]["state"]["terminated"].clone())
    }

    /// What it has said when it has ended.
    pub(crate) fn said(&self) -> Result<String> {
        self.ended()?;
        self.logs(&[])
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, wanted: &str) -> Result<String> {
        let mut said = String::new();
        let done = until(LIMIT, || match self.logs(&["-c", "main"]) {
            Ok(now) => {
                said = now;
                said.contains(wanted)
            }
            Err(_) => false,
        });
        ensure!(done, "no {wanted:?} in {said:?}");
        Ok(said)
    }

    pub(crate) fn uid(&self) -> Result<String> {
        Ok(self.seen()?["metadata"]["uid"].as_str().context("no uid")?.to_string())
    }

    pub(crate) fn logs(&self, words: &[&str]) -> Result<String> {
        self.cluster.ask(&[&["logs", &self.name], words].concat())
    }

    /// `kubectl exec`.
    pub(crate) fn exec(&self, words: &[&str]) -> Result<Output> {
        self.cluster.kubectl(&[&["exec", &self.name, "--"], words].concat(), "")
    }

    /// What a program that is run in it says if all is well.
    pub(crate) fn done(&self, words: &[&str]) -> Result<String> {
        let output = self.exec(words)?.ok().with_context(|| format!("{words:?}"))?;
        Ok(output.stdout.trim_end().to_string())
    }

    /// What people are told of it, a line each.
    pub(crate) fn events(&self) -> Result<String> {
        let of = format!("involvedObject.name={}", self.name);
        self.cluster.ask(&["get", "events", "--field-selector", &of, "-o", EVENT])
    }

    /// Waits until people are told all of this: events reach the API a while after what they tell.
    pub(crate) fn tells(&self, parts: &[&str]) -> Result<()> {
        let mut told = Ok(String::new());
        let all = until(LIMIT, || {
            told = self.events();
            told.as_ref().is_ok_and(|told| parts.iter().all(|part| told.contains(part)))
        });
        let told = told?;
        ensure!(all, "{parts:?} is not in: {told}");
        Ok(())
    }

    pub(crate) fn seen(&self) -> Result<Value> {
        self.cluster.api.get(&self.object)
    }

    /// Where a port of it is, in the cluster's network.
    pub(crate) fn socket(&self, port: u16) -> Result<SocketAddr> {
        let pod = self.seen()?;
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        Ok(SocketAddr::new(address.parse()?, port))
    }

    pub(crate) fn change(&self, part: Option<&'static str>, change: Value) -> Result<()> {
        self.cluster.api.change(&self.object, part, change)
    }

    pub(crate) fn delete(&self) -> Result<()> {
        self.cluster.api.delete(&self.object)
    }

    pub(crate) fn gone(&self) -> Result<()> {
        self.cluster.api.gone(&self.object, LIMIT)
    }
}

const EVENT: &str = "jsonpath={range .items[*]}{.type} {.reason}: {.message}{\"\\n\"}{end}";

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// An object that is no pod, deleted when the test lets go of it.
pub(crate) struct Object<'a> {
    cluster: &'a Cluster,
    pub(crate) object: Value,
}

impl<'a> Object<'a> {
    pub(crate) fn new(cluster: &'a Cluster, object: Value) -> Result<Object<'a>> {
        cluster.api.create(&object)?;
        Ok(Object { cluster, object })
    }

    pub(crate) fn change(&self, change: Value) -> Result<()> {
        self.cluster.api.change(&self.object, None, change)
    }

    pub(crate) fn until(
        &self,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Result<Value> {
        self.cluster.api.until(&self.object, limit, wanted)
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.api.delete(&self.object) {
            eprintln!("{error:#}");
        }
    }
}
