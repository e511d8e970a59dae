//! What all rows are played on: one containerd, with both shims, and the same programs for each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use wherry_e2e::client::Events;
use wherry_e2e::containerd::Containerd;
use wherry_e2e::guests;
use wherry_e2e::image::{Image, Recipe};
use wherry_e2e::place::Network;
use wherry_e2e::rig::{self, Runtime, Version};

use crate::column::Column;

/// The guests that rows run.
const PROGRAMS: [&str; 7] = ["sleep", "exit", "hello", "cat", "lines", "oom", "spin"];

pub(crate) struct Ground {
    pub(crate) containerd: Containerd,
    pub(crate) events: Events,
    wherry: Image,
    runc: Image,
}

impl Ground {
    pub(crate) fn new() -> Result<Ground> {
        let (version, ours) = (Version::chosen()?, rig::programs()?);
        let containerd = Containerd::start(version, Runtime::Wherry, Network::Machine, &[ours])?;
        let events = containerd.client().events()?;
        let wherry = pack(&containerd, Runtime::Wherry)?;
        let runc = pack(&containerd, Runtime::Runc)?;
        Ok(Ground { containerd, events, wherry, runc })
    }

    pub(crate) fn image(&self, column: Column) -> &Image {
        match column.programs() {
            Runtime::Wherry => &self.wherry,
            Runtime::Runc => &self.runc,
        }
    }

    /// The same files as a folder, for a shim that is asked without containerd.
    pub(crate) fn rootfs(&self, column: Column) -> PathBuf {
        rootfs(&self.containerd, column.programs())
    }
}

fn rootfs(containerd: &Containerd, runtime: Runtime) -> PathBuf {
    containerd.place.path(&format!("rootfs-{runtime:?}"))
}

fn pack(containerd: &Containerd, runtime: Runtime) -> Result<Image> {
    let folder = rootfs(containerd, runtime);
    fs::create_dir(&folder)?;
    let mut files = Vec::new();
    for name in PROGRAMS {
        let (file, content) = (guests::file_name(name)?, fs::read(runtime.guest(name)?)?);
        fs::write(folder.join(&file), &content)?;
        fs::set_permissions(folder.join(&file), fs::Permissions::from_mode(0o755))?;
        files.push((file, content));
    }
    let mut files = files.into_iter();
    let (first, content) = files.next().context("there are programs")?;
    let reference = format!("wherry.test/conformance:{runtime:?}").to_lowercase();
    let mut recipe = Recipe::program(&reference, &first, content);
    for (file, content) in files {
        recipe = recipe.file(&file, &content);
    }
    let image = recipe.pack(&containerd.place.path(&format!("image-{runtime:?}.tar")))?;
    containerd.import(&image)?;
    Ok(image)
}
