//! A cluster, the images that the chart names, and Helm in the cluster's network.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;
use serde_json::{Value, json};
use wherry_e2e::cluster::files::FLEET;
use wherry_e2e::cluster::{Cluster, audit};
use wherry_e2e::command::{self, Output};
use wherry_e2e::helm::{Helm, NAMESPACE, chart, objects};
use wherry_e2e::image::architecture;
use wherry_e2e::rig::{self, Runtime};
use wherry_e2e::suite::Ground;
use wherry_images::{Order, Programs, Source, build};

use crate::document;

pub(crate) const SOON: Duration = Duration::from_secs(120);
/// Each node restarts its containerd once, and pulls an image.
const ROLLOUT: Duration = Duration::from_secs(240);
/// Helm waits for pods, and hooks for the operator.
const HELM: Duration = Duration::from_secs(300);
pub(crate) const NAME: &str = "wherry";
const OPERATOR: &str = "wherry-operator";

#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) cluster: Cluster,
    /// Images, with their digests.
    pub(crate) operator: String,
    pub(crate) node: String,
}

impl Release {
    pub(crate) fn new() -> Result<Release> {
        // One with containerd 1.7 and one with 2.4, which have nothing of ours.
        let cluster = Cluster::of(&FLEET[..2])?;
        let programs =
            Programs { architecture: architecture().into(), folder: rig::programs()?, boms: None };
        for program in ["wherry-operator", "wherry-node"] {
            rig::need(&programs.folder.join(program), "make test-chart")?;
        }
        let built = build(&Order {
            programs: vec![programs],
            repository: "registry.test/wherry".into(),
            tag: "1.0.0".into(),
            epoch: None,
            source: Source::default(),
        })?;
        cluster.publish(&built)?;
        let mut values = built.values();
        let wave = |name: &str, nodes: Value| json!({ "name": name, "nodes": nodes, "soak": "1s" });
        values["shim"]["spec"]["rollout"]["waves"] =
            json!([wave("canary", json!(1)), wave("rest", json!("100%"))]);
        values["uninstall"]["seconds"] = json!(100);
        fs::write(cluster.place.path("values.json"), values.to_string())?;
        let (operator, node) = (built.pinned("wherry-operator")?, built.pinned("wherry-node")?);
        fs::create_dir_all(document::home(&cluster))?;
        Ok(Release { cluster, operator, node })
    }

    pub(crate) fn values(&self) -> String {
        self.cluster.place.path("values.json").display().to_string()
    }

    /// Helm, as the administrator.
    pub(crate) fn helm(&self, helm: Helm, words: &[&str]) -> Result<Output> {
        let mut command = self.cluster.place.command(helm.program()?);
        command.args(words).args(["--namespace", NAMESPACE]);
        command.env("KUBECONFIG", self.cluster.place.path("admin.conf"));
        command.env("HOME", self.cluster.place.path("home"));
        command::run(&mut command, b"", HELM)
    }

    /// Installs or upgrades, with these words about values; what Helm says.
    pub(crate) fn bring(&self, helm: Helm, verb: &str, words: &[&str]) -> Result<String> {
        let (chart, values) = (chart(), self.values());
        let mut all = vec![verb, NAME, &chart, "--values", &values, "--wait"];
        all.extend(["--timeout", "3m"]);
        if verb == "install" {
            all.push("--create-namespace");
        }
        all.extend(words);
        Ok(self.helm(helm, &all)?.ok()?.stdout)
    }

    pub(crate) fn uninstall(&self, helm: Helm, words: &[&str]) -> Result<Output> {
        let mut all = vec!["uninstall", NAME, "--wait", "--timeout", "2m"];
        all.extend(words);
        self.helm(helm, &all)
    }

    /// Waits until every node is proved.
    pub(crate) fn complete(&self) -> Result<()> {
        self.cluster.api.until(&shim(NAME), ROLLOUT, |it| {
            it["status"]["phase"] == "Complete"
                && it["status"]["nodes"]["summary"] == "2/2"
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
        })?;
        Ok(())
    }

    /// The `WasmShim` that the chart writes.
    pub(crate) fn shim(&self) -> Result<Value> {
        self.cluster.api.get(&shim(NAME))
    }

    /// Names of what the chart leaves; definitions are told apart.
    pub(crate) fn left(&self) -> Result<String> {
        let kinds = "all,serviceaccounts,configmaps,networkpolicies,poddisruptionbudgets,roles,rolebindings,\
                     clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings,runtimeclasses,wasmshims,nodeshims,shimrevisions";
        let ours = "-l=app.kubernetes.io/part-of=wherry";
        let labelled = self.cluster.ask(&["get", kinds, "-A", ours, "-o", "name"])?;
        let own = "runtimeclasses,wasmshims,nodeshims,shimrevisions";
        let own = self.cluster.ask(&["get", own, "-o", "name"])?;
        Ok(format!("{labelled}{own}"))
    }

    pub(crate) fn definitions(&self) -> Result<usize> {
        let all = self.cluster.ask(&["get", "customresourcedefinitions", "-o", "name"])?;
        Ok(all.lines().filter(|name| name.ends_with(".wherry.dev")).count())
    }

    /// Hooks' rights are as large as their calls.
    fn rights(&self) -> Result<()> {
        let mut calls = audit::calls(&self.cluster.place)?;
        // The operator's own are the suite operator's; here its roles go a moment before it does.
        calls.retain(|call| call.account != OPERATOR);
        let mut wrong = audit::denied(&calls);
        let values = self.values();
        let text = Helm::V4.template(&["--values", &values])?.ok()?.stdout;
        let mut rights = audit::rights(&objects(&text)?);
        rights.retain(|right| right.account != OPERATOR);
        ensure!(rights.len() > 8, "{rights:?}");
        if Arguments::from_args().filter.is_none() {
            wrong.extend(audit::idle(&rights, &calls, &[]));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

pub(crate) fn shim(name: &str) -> Value {
    json!({ "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": name } })
}

impl Ground for Release {
    fn runtime(&self) -> Runtime {
        self.cluster.runtime
    }

    fn title(&self) -> String {
        self.cluster.title()
    }

    fn finish(&self) -> Result<()> {
        self.rights()?;
        self.cluster.finish()
    }

    fn log(&self) -> String {
        let words = ["logs", "-n", NAMESPACE, "deploy/wherry-operator", "--tail=20"];
        let told = self.cluster.ask(&words).unwrap_or_else(|error| format!("{error:#}"));
        let pods = ["get", "pods,jobs", "-A", "-o", "wide"];
        told + &self.cluster.ask(&pods).unwrap_or_else(|error| format!("{error:#}"))
    }
}
