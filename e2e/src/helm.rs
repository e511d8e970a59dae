//! Helm in the versions that are tested, what it makes of the chart, and the chart's release on a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wherry_images::{Built, Order, Programs, Source};

use crate::cluster::Cluster;
use crate::cluster::registry;
use crate::command::{self, Output};
use crate::image::architecture;
use crate::rig;

const LIMIT: Duration = Duration::from_secs(60);
/// It waits for pods, and its hooks for the operator.
const IN_CLUSTER: Duration = Duration::from_secs(300);
/// For a rollout over all nodes: each restarts its containerd once, and pulls an image.
pub const ROLLOUT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    V3,
    V4,
}

impl Helm {
    pub const ALL: [Helm; 2] = [Helm::V3, Helm::V4];

    pub fn program(self) -> Result<PathBuf> {
        let name = match self {
            Helm::V3 => "helm-3",
            Helm::V4 => "helm-4",
        };
        rig::need(&rig::root().join(name).join("helm"), "e2e/rig/fetch.sh helm")
    }

    /// Runs it without a cluster.
    pub fn run(self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.program()?);
        command.args(words).env_remove("KUBECONFIG");
        command::run(&mut command, b"", LIMIT)
    }

    /// The chart as text, with these words about its values.
    pub fn template(self, words: &[&str]) -> Result<Output> {
        let (chart, mut all) = (chart(), vec!["template", NAME]);
        all.push(&chart);
        all.extend(["--namespace", NAMESPACE, "--kube-version", "1.36.3"]);
        all.extend(words);
        self.run(&all)
    }

    /// Runs it as the administrator of a cluster.
    pub fn on(self, cluster: &Cluster, words: &[&str]) -> Result<Output> {
        let mut command = cluster.place.command(self.program()?);
        command.args(words).args(["--namespace", NAMESPACE]);
        command.env("KUBECONFIG", cluster.place.path("admin.conf"));
        command.env("HOME", cluster.place.path("home"));
        command::run(&mut command, b"", IN_CLUSTER)
    }

    /// Installs or upgrades a chart, with these words about it and its values; what Helm says.
    pub fn bring(
        self,
        cluster: &Cluster,
        verb: &str,
        chart: &str,
        words: &[&str],
    ) -> Result<String> {
        let mut all = vec![verb, NAME, chart, "--wait", "--timeout", "3m"];
        if verb == "install" {
            all.push("--create-namespace");
        }
        all.extend(words);
        Ok(self.on(cluster, &all)?.ok()?.stdout)
    }

    pub fn uninstall(self, cluster: &Cluster, words: &[&str]) -> Result<Output> {
        let mut all = vec!["uninstall", NAME, "--wait", "--timeout", "2m"];
        all.extend(words);
        self.on(cluster, &all)
    }

    /// Packs the chart in this version and pushes it to the cluster's registry; the file.
    pub fn publish(self, cluster: &Cluster, version: &str) -> Result<PathBuf> {
        let folder = cluster.place.path("charts");
        let (chart, to) = (chart(), folder.display().to_string());
        let words = ["package", &chart, "--version", version, "--app-version", version];
        self.on(cluster, &[&words[..], &["--destination", &to]].concat())?.ok()?;
        let file = folder.join(format!("{NAME}-{version}.tgz"));
        let to = PUBLISHED.strip_suffix("/wherry").unwrap_or_default();
        let [flag, certificate] = trust(cluster);
        let told = file.display().to_string();
        self.on(cluster, &["push", &told, to, &flag, &certificate])?.ok()?;
        Ok(file)
    }
}

/// Where it is installed in all documents.
pub const NAMESPACE: &str = "wherry-system";
/// Of the release, and of the `WasmShim` that the chart writes.
pub const NAME: &str = "wherry";
/// The chart in a cluster's registry.
pub const PUBLISHED: &str = "oci://registry.test/charts/wherry";

/// Words by which Helm trusts a cluster's registry.
pub fn trust(cluster: &Cluster) -> [String; 2] {
    ["--ca-file".into(), registry::certificate(&cluster.place).display().to_string()]
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn chart() -> String {
    repository().join("charts/wherry").display().to_string()
}

/// The objects of a text with several documents.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).context("this is no YAML")?;
    Ok(all.into_iter().filter(|object| object.is_object()).collect())
}

/// Builds the images of a release of the programs in a folder, and publishes them.
pub fn images(cluster: &Cluster, folder: &Path, tag: &str) -> Result<Built> {
    let programs =
        Programs { architecture: architecture().into(), folder: folder.into(), boms: None };
    let built = wherry_images::build(&Order {
        programs: vec![programs],
        repository: format!("{}/wherry", registry::HOST),
        tag: tag.into(),
        epoch: None,
        source: Source {
            builder: "https://wherry.dev/images/of-a-test".into(),
            ..Source::default()
        },
    })?;
    cluster.publish(&built)?;
    Ok(built)
}

/// The chart's values for these images, with waves that a test can wait for.
pub fn values(images: &Built) -> Value {
    let mut values = images.values();
    let wave = |name: &str, nodes: Value| json!({ "name": name, "nodes": nodes, "soak": "1s" });
    values["shim"]["spec"]["rollout"]["waves"] =
        json!([wave("canary", json!(1)), wave("rest", json!("100%"))]);
    values["uninstall"]["seconds"] = json!(100);
    values
}

/// A `WasmShim`, by its name.
pub fn shim(name: &str) -> Value {
    json!({ "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": name } })
}

/// Waits until the rollout of the release has come to this, with all nodes ready.
pub fn rolled(cluster: &Cluster, phase: &'static str) -> Result<Value> {
    let wanted = format!("{0}/{0}", cluster.nodes.len());
    cluster.api.until(&shim(NAME), ROLLOUT, move |it| {
        let status = &it["status"];
        status["phase"] == phase
            && status["nodes"]["summary"] == *wanted
            && status["observedGeneration"] == it["metadata"]["generation"]
    })
}
