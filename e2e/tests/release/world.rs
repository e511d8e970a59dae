//! A cluster, the images that the chart names, and Helm in the cluster's network.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;
use serde_json::Value;
use wherry_e2e::cluster::files::FLEET;
use wherry_e2e::cluster::{Cluster, audit};
use wherry_e2e::helm::{self, Helm, NAME, NAMESPACE, chart, objects, shim};
use wherry_e2e::rig::{self, Runtime};
use wherry_e2e::suite::Ground;

use crate::document;

pub(crate) const SOON: Duration = Duration::from_secs(120);
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
        let programs = rig::programs()?;
        for program in ["wherry-operator", "wherry-node"] {
            rig::need(&programs.join(program), "make test-chart")?;
        }
        let built = helm::images(&cluster, &programs, "1.0.0")?;
        let values = helm::values(&built).to_string();
        fs::write(cluster.place.path("values.json"), values)?;
        let (operator, node) = (built.pinned("wherry-operator")?, built.pinned("wherry-node")?);
        fs::create_dir_all(document::home(&cluster))?;
        Ok(Release { cluster, operator, node })
    }

    pub(crate) fn values(&self) -> String {
        self.cluster.place.path("values.json").display().to_string()
    }

    /// Installs or upgrades, with these words about values; what Helm says.
    pub(crate) fn bring(&self, helm: Helm, verb: &str, words: &[&str]) -> Result<String> {
        let values = self.values();
        let words = [&["--values", &values], words].concat();
        helm.bring(&self.cluster, verb, &chart(), &words)
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
