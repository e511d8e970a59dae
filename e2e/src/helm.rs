//! Helm in the versions that are tested, and what it makes of the chart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{self, Output};
use crate::rig;

const LIMIT: Duration = Duration::from_secs(60);

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
        let (chart, mut all) = (chart(), vec!["template", "wherry"]);
        all.push(&chart);
        all.extend(["--namespace", NAMESPACE, "--kube-version", "1.36.3"]);
        all.extend(words);
        self.run(&all)
    }
}

/// Where it is installed in all documents.
pub const NAMESPACE: &str = "wherry-system";

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
