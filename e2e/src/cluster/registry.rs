//! The registry that the nodes pull from: a folder with all images, and a program that serves it and takes what is
//! pushed. In the place it is reached by its name too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wherry_images::Built;

use super::control::ADDRESS;
use crate::command;
use crate::image::{Blobs, Recipe};
use crate::place::Place;
use crate::rig;

const LIMIT: Duration = Duration::from_secs(10);
/// Its name, for who does not pull by a mirror.
pub const HOST: &str = "registry.test";

#[derive(Debug)]
pub struct Registry {
    program: Child,
    layout: PathBuf,
    /// What each image of the layout is described by.
    images: Mutex<BTreeMap<String, Value>>,
}

impl Registry {
    /// Writes its certificate to [`certificate`].
    pub fn start(place: &Place) -> Result<Registry> {
        let program = rig::need(&rig::root().join("bin/registry"), "e2e/rig/fetch.sh cluster")?;
        let layout = place.path("images");
        Blobs::default().write_folder(&layout, &[])?;
        named(place)?;
        let mut command = place.daemon(program)?;
        command.arg("-layout").arg(&layout);
        let hosts = format!("{ADDRESS},{HOST}");
        command.args(["-hosts", &hosts, "-listen", &format!("{ADDRESS}:443")]);
        command.arg("-certificate").arg(certificate(place));
        command.stderr(fs::File::create(place.path("registry.log"))?);
        let mut program = command.stdout(Stdio::piped()).spawn().context("registry")?;
        let mut ready = String::new();
        if let Some(out) = program.stdout.take() {
            BufReader::new(out).read_line(&mut ready)?;
        }
        if ready.trim() != "ready" {
            let said = fs::read_to_string(place.path("registry.log")).unwrap_or_default();
            bail!("the registry does not start: {said}");
        }
        Ok(Registry { program, layout, images: Mutex::default() })
    }

    /// The image is there to be pulled, by the name that is returned.
    pub fn push(&self, recipe: &Recipe) -> Result<String> {
        let mut images = self.images.lock().expect("no holder panics");
        if !images.contains_key(&recipe.reference) {
            let mut blobs = Blobs::default();
            let (mut image, _) = recipe.add_to(&mut blobs)?;
            image["annotations"] = json!({ "org.opencontainers.image.ref.name": recipe.reference });
            images.insert(recipe.reference.clone(), image);
            let all: Vec<Value> = images.values().cloned().collect();
            blobs.write_folder(&self.layout, &all)?;
        }
        Ok(recipe.reference.clone())
    }

    /// Images of a release are there to be pulled, by their names and by their digests.
    pub fn publish(&self, built: &Built) -> Result<()> {
        let mut images = self.images.lock().expect("no holder panics");
        for member in built.members() {
            let mut image = member.descriptor.clone();
            image["annotations"] = json!({ "org.opencontainers.image.ref.name": member.name });
            images.insert(member.name.clone(), image);
        }
        let all: Vec<Value> = images.values().cloned().collect();
        built.blobs().write_folder(&self.layout, &all)
    }

    pub fn stop(&mut self) -> Result<()> {
        self.program.kill().context("registry")?;
        self.program.wait().context("registry")?;
        Ok(())
    }
}

/// What its clients trust.
pub fn certificate(place: &Place) -> PathBuf {
    place.path("registry.pem")
}

/// In the place it has its name.
fn named(place: &Place) -> Result<()> {
    let hosts = place.path("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{ADDRESS} {HOST}\n"))?;
    let mut mount = place.command("mount");
    mount.arg("--bind").arg(&hosts).arg("/etc/hosts");
    command::run(&mut mount, b"", LIMIT)?.ok().context("/etc/hosts")?;
    Ok(())
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}
