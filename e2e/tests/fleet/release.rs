//! Three releases: one, another that does the same, and one that does not work. Each has images, values that name
//! them, and a chart of its version in the registry.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use wherry_e2e::cluster::Cluster;
use wherry_e2e::helm::{self, Helm};
use wherry_e2e::rig;

const OPERATOR: [&str; 2] = ["wherry-operator", "wherry-node"];

#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) version: &'static str,
    /// The file that `helm install --values` is given.
    pub(crate) values: String,
    /// The chart as it was packed.
    pub(crate) chart: PathBuf,
    /// The image of the agent, by its digest.
    pub(crate) agent: String,
    /// The images as a file.
    pub(crate) archive: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Releases {
    pub(crate) good: Release,
    pub(crate) next: Release,
    /// Its guest is another program.
    pub(crate) broken: Release,
}

impl Releases {
    /// Builds and publishes them.
    pub(crate) fn publish(cluster: &Cluster) -> Result<Releases> {
        let good = copy(&cluster.place.path("good"))?;
        let next = copy(&cluster.place.path("next"))?;
        // One byte more changes nothing that a program does, and makes it another one.
        let wherry = next.join("wherry");
        let mut bytes = fs::read(&wherry)?;
        bytes.push(b'\n');
        fs::write(wherry, bytes)?;
        let broken = copy(&cluster.place.path("broken"))?;
        fs::copy(rig::busybox()?, broken.join("wherry-guest"))?;
        Ok(Releases {
            good: Release::publish(cluster, &good, "1.0.0")?,
            next: Release::publish(cluster, &next, "1.1.0")?,
            broken: Release::publish(cluster, &broken, "1.2.0")?,
        })
    }
}

impl Release {
    fn publish(cluster: &Cluster, programs: &Path, version: &'static str) -> Result<Release> {
        let images = helm::images(cluster, programs, version)?;
        let mut values = helm::values(&images);
        values["shim"]["spec"]["rollout"]["maxUnavailable"] = json!(1);
        let file = cluster.place.path(&format!("values-{version}.json"));
        fs::write(&file, values.to_string())?;
        let archive = cluster.place.path(&format!("images-{version}.tar"));
        images.write_archive(&archive)?;
        Ok(Release {
            version,
            values: file.display().to_string(),
            chart: Helm::V4.publish(cluster, version)?,
            agent: images.pinned("wherry-node")?,
            archive,
        })
    }
}

fn copy(to: &Path) -> Result<PathBuf> {
    fs::create_dir(to)?;
    let from = rig::programs()?;
    for name in rig::PROGRAMS.into_iter().chain(OPERATOR) {
        let program = rig::need(&from.join(name), "make test-fleet")?;
        fs::copy(&program, to.join(name)).with_context(|| program.display().to_string())?;
    }
    Ok(to.to_owned())
}
