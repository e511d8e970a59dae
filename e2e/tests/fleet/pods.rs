//! A Wasm service on all nodes: a Deployment behind a Service, as people have it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::cluster::{Cluster, in_network_of};
use wherry_e2e::command::until;
use wherry_e2e::http;
use wherry_e2e::traffic::Traffic;

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Web<'a> {
    cluster: &'a Cluster,
    deployment: Value,
    service: Value,
    pub(crate) at: SocketAddr,
}

impl<'a> Web<'a> {
    /// A pod on each node, ready, and answering.
    pub(crate) fn on(cluster: &'a Cluster) -> Result<Web<'a>> {
        let image = cluster.guest("http-p2")?;
        let deployment = deployment(&image, cluster.nodes.len());
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
        cluster.api.create(&deployment)?;
        let made = cluster.api.create(&service)?;
        let address = made["spec"]["clusterIP"].as_str().context("an address")?.parse()?;
        let web = Web { cluster, deployment, service, at: SocketAddr::new(address, 80) };
        web.ready()?;
        ensure!(until(LIMIT, || web.asks().is_ok()), "the service does not answer");
        Ok(web)
    }

    pub(crate) fn ready(&self) -> Result<()> {
        let count = self.cluster.nodes.len();
        let ready = move |it: &Value| it["status"]["availableReplicas"] == count;
        let told = self.cluster.api.until(&self.deployment, LIMIT, ready);
        let pods = || self.cluster.ask(&["describe", "pods", "-l", "app=web"]).unwrap_or_default();
        told.map(drop).with_context(pods)
    }

    /// One request, from the first node.
    pub(crate) fn asks(&self) -> Result<()> {
        let answer = in_network_of(self.cluster.nodes[0].leader(), || http::get(self.at, "/"))?;
        ensure!(answer.0 == 200, "{answer:?}");
        Ok(())
    }

    /// Who asks it without a pause, from the first node.
    pub(crate) fn traffic(&self) -> Result<Traffic> {
        Traffic::start(self.cluster.nodes[0].leader(), self.at, 2)
    }

    /// Each pod, with how often it was started.
    pub(crate) fn pods(&self) -> Result<String> {
        let each = "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}\
                    {\"\\n\"}{end}";
        self.cluster.ask(&["get", "pods", "-l", "app=web", "--sort-by=.metadata.uid", "-o", each])
    }

    /// Ends it, and waits until its pods are gone.
    pub(crate) fn end(self) -> Result<()> {
        self.cluster.api.delete(&self.deployment)?;
        let pods = ["get", "pods", "-l", "app=web", "-o", "name"];
        let gone = until(LIMIT, || self.cluster.ask(&pods).is_ok_and(|all| all.is_empty()));
        ensure!(gone, "pods do not end");
        Ok(())
    }
}

impl Drop for Web<'_> {
    fn drop(&mut self) {
        for object in [&self.service, &self.deployment] {
            if let Err(error) = self.cluster.api.delete(object) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn deployment(image: &str, count: usize) -> Value {
    let labels = json!({ "app": "web" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": count, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "runtimeClassName": "wherry", "terminationGracePeriodSeconds": 5,
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": labels },
                }],
                "containers": [{
                    "name": "main", "image": image,
                    "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
                }],
            }},
        },
    })
}
