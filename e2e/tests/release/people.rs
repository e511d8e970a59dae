//! What README.md and deploy/operator tell people to do, as it is written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use wherry_e2e::command::until;
use wherry_e2e::helm::{Helm, NAME, shim};
use wherry_e2e::suite::{Case, For};

use crate::document::{at_cluster, blocks, home, program, root};
use crate::world::{Release, SOON};

pub(crate) const CASES: &[Case<Release>] = &[
    ("the_readme_installs_upgrades_rolls_back_and_uninstalls", For::Wherry, readme),
    ("the_plain_manifests_bring_the_operator_and_take_it_off", For::Wherry, plain),
];

/// The checkout of a reader who has built the images.
fn checkout(release: &Release) -> Result<PathBuf> {
    let folder = home(&release.cluster).join("checkout");
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(folder.join("dist/images"))?;
    for name in ["charts", "deploy"] {
        symlink(root().canonicalize()?.join(name), folder.join(name))?;
    }
    // With waves that a test can wait for.
    fs::copy(release.values(), folder.join("dist/images/values.json"))?;
    let programs = release.cluster.place.path("programs");
    let make = "[ \"$*\" = 'images REGISTRY=registry.example/wherry' ]";
    program(&programs, "make", make)?;
    let config = release.cluster.place.path("admin.conf");
    let helm = Helm::V4.program()?;
    let helm = format!("KUBECONFIG={} exec {} \"$@\"", config.display(), helm.display());
    program(&programs, "helm", &helm)?;
    Ok(folder)
}

fn left(release: &Release) -> Result<()> {
    // Their definitions are gone, and with them what the rest of the suite looks for.
    let ours = ["get", "clusterroles,validatingadmissionpolicies", "-o", "name"];
    let gone = || release.cluster.ask(&ours).is_ok_and(|all| !all.contains("wherry"));
    ensure!(until(SOON, gone), "{}", release.cluster.ask(&ours)?);
    ensure!(release.definitions()? == 0);
    for node in &release.cluster.nodes {
        let config = fs::read_to_string(node.path("/etc/containerd/config.toml"))?;
        ensure!(!config.contains("runtimes.wherry"), "{}: {config}", node.name());
        ensure!(!node.path("/opt/wherry").exists(), "{}", node.name());
    }
    Ok(())
}

fn readme(release: &Release) -> Result<()> {
    let folder = checkout(release)?;
    let mut run = 0;
    for block in blocks("README.md", "## On every node")? {
        if !["host", "helm"].contains(&block.place.as_str()) {
            bail!("nobody runs what is for {:?}", block.place);
        }
        at_cluster(&release.cluster, &folder, &block.script)
            .with_context(|| format!("README.md: {}", block.script))?;
        run += 1;
    }
    ensure!(run == 4, "{run}");
    left(release)
}

fn plain(release: &Release) -> Result<()> {
    let folder = checkout(release)?;
    let images = format!("OPERATOR={} NODE={}\n", release.operator, release.node);
    let run = |heading: &str| -> Result<()> {
        for block in blocks("deploy/operator/README.md", heading)? {
            ensure!(block.place == "plain", "nobody runs what is for {:?}", block.place);
            at_cluster(&release.cluster, &folder, &format!("{images}{}", block.script))?;
        }
        Ok(())
    };
    run("## On")?;
    // The canary; the others have to wait for longer than a test may.
    release.cluster.api.until(&shim(NAME), SOON, |it| it["status"]["nodes"]["ready"] == 1)?;
    run("## Off again")?;
    left(release)
}
