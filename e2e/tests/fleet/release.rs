//! The images of three releases: one, another that does the same, and one that does not work.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::image::architecture;
use wherry_e2e::rig;
use wherry_images::{Built, Order, Programs, Source, build};

const OPERATOR: [&str; 2] = ["wherry-operator", "wherry-node"];

/// The image of the operator, and those of the agent, each by its digest.
#[derive(Debug)]
pub(crate) struct Releases {
    pub(crate) operator: String,
    pub(crate) good: String,
    pub(crate) next: String,
    /// Its guest is another program.
    pub(crate) broken: String,
    /// The first one as a file.
    pub(crate) archive: PathBuf,
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
        let image = |folder: &Path, tag: &str| -> Result<Built> {
            let built = build(&order(folder, tag))?;
            cluster.publish(&built)?;
            Ok(built)
        };
        let first = image(&good, "1.0.0")?;
        let archive = cluster.place.path("images.tar");
        first.write_archive(&archive)?;
        Ok(Releases {
            operator: first.pinned("wherry-operator")?,
            good: first.pinned("wherry-node")?,
            next: image(&next, "1.1.0")?.pinned("wherry-node")?,
            broken: image(&broken, "1.2.0")?.pinned("wherry-node")?,
            archive,
        })
    }
}

fn order(folder: &Path, tag: &str) -> Order {
    let programs =
        Programs { architecture: architecture().into(), folder: folder.to_owned(), boms: None };
    Order {
        programs: vec![programs],
        repository: "registry.test/wherry".into(),
        tag: tag.into(),
        epoch: None,
        source: Source {
            builder: "https://wherry.dev/images/of-a-test".into(),
            ..Source::default()
        },
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
