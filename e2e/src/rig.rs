//! What stands outside the tests: the programs under test, the daemons to run them on, and the choice of both
//! by environment. Whatever is missing is said in a sentence that tells how to get it; nothing is skipped.
//!
//! | variable | default |
//! |---|---|
//! | `WHERRY_PROGRAMS` | the release programs of this checkout |
//! | `WHERRY_RIG` | `~/.cache/wherry/rig`, filled by `e2e/rig/fetch.sh` |
//! | `WHERRY_GUESTS` | `~/.cache/wherry/guests`, filled by the `guests` program |
//! | `WHERRY_CONTAINERD` | `2.4`; also `1.7` and `2.1` |
//! | `WHERRY_DOCKER` | `29`; also `26` and `28` |
//! | `WHERRY_DOCKER_STORE` | `containerd`, its image store; also `docker`, Docker's own |
//! | `WHERRY_RUNTIME` | `wherry`; `runc` runs the same programs, built for this machine, as a control |

//! | `WHERRY_CGROUPS` | `cgroupfs`; also `systemd`, where that runs the machine ([`crate::cgroups`]) |
//! | `WHERRY_PATIENCE` | `1`: by how much every time limit is longer, for a slow machine |
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

fn cache() -> PathBuf {
    PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/wherry")
}

fn folder(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    env::var_os(variable).map_or_else(default, PathBuf::from)
}

/// Where `fetch.sh` puts daemons.
pub fn root() -> PathBuf {
    folder("WHERRY_RIG", || cache().join("rig"))
}

/// Where the built guests are.
pub fn guests() -> PathBuf {
    folder("WHERRY_GUESTS", || cache().join("guests"))
}

/// What is installed together.
pub const PROGRAMS: [&str; 4] =
    ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wasmbox.wasm"];

/// The folder with our [`PROGRAMS`].
pub fn programs() -> Result<PathBuf> {
    let found = folder("WHERRY_PROGRAMS", || {
        let target = folder("CARGO_TARGET_DIR", || cache().join("target"));
        target.join(format!("{}-unknown-linux-musl/release", env::consts::ARCH))
    });
    for program in PROGRAMS {
        need(&found.join(program), "make programs")?;
    }
    Ok(found)
}

/// `path`, or a sentence with the command that makes it.
pub fn need(path: &Path, how: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("{} is missing: run `{how}`", path.display());
    }
    Ok(path.to_path_buf())
}

/// One of the containerds that are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V1_7,
    V2_1,
    V2_4,
}

impl Version {
    /// The one that `WHERRY_CONTAINERD` names.
    pub fn chosen() -> Result<Version> {
        match env::var("WHERRY_CONTAINERD").as_deref() {
            Ok("1.7") => Ok(Version::V1_7),
            Ok("2.1") => Ok(Version::V2_1),
            Ok("2.4") | Err(_) => Ok(Version::V2_4),
            Ok(other) => bail!("WHERRY_CONTAINERD={other} is none of 1.7, 2.1 and 2.4"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Version::V1_7 => "1.7",
            Version::V2_1 => "2.1",
            Version::V2_4 => "2.4",
        }
    }

    /// The folder with `containerd`, `ctr` and `containerd-shim-runc-v2`.
    pub fn programs(self) -> Result<PathBuf> {
        let folder = match self {
            Version::V1_7 => root().join("debian/trixie/root/usr/bin"),
            Version::V2_1 => root().join("debian/sid/root/usr/bin"),
            Version::V2_4 => root().join("containerd-2.4"),
        };
        need(&folder.join("containerd"), &format!("e2e/rig/fetch.sh containerd-{}", self.name()))?;
        Ok(folder)
    }
}

/// The folder with `runc`.
pub fn runc() -> Result<PathBuf> {
    need(&root().join("runc/runc"), "e2e/rig/fetch.sh containerd-2.4")?;
    Ok(root().join("runc"))
}

/// The folder with the network plugins of CNI's own project, of whichever Debian this machine has.
pub fn cni() -> Result<PathBuf> {
    let suites = std::fs::read_dir(root().join("debian")).into_iter().flatten().flatten();
    let folders = suites.map(|suite| suite.path().join("root/usr/lib/cni"));
    let found = folders.into_iter().find(|folder| folder.join("ptp").exists());
    found.context("CNI's plugins are missing: run `e2e/rig/fetch.sh critest`")
}

/// A static busybox, for ordinary containers beside ours.
pub fn busybox() -> Result<PathBuf> {
    need(&root().join("bin/busybox"), "e2e/rig/fetch.sh containerd-2.4")
}

/// The shell and tools of Wasm containers.
pub fn wasmbox() -> Result<PathBuf> {
    need(&programs()?.join("wasmbox.wasm"), "make programs")
}

/// Which runtime carries the containers of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Wherry,
    /// The control: what does an ordinary container do here?
    Runc,
}

impl Runtime {
    pub fn chosen() -> Result<Runtime> {
        match env::var("WHERRY_RUNTIME").as_deref() {
            Ok("runc") => Ok(Runtime::Runc),
            Ok("wherry") | Err(_) => Ok(Runtime::Wherry),
            Ok(other) => bail!("WHERRY_RUNTIME={other} is none of wherry and runc"),
        }
    }

    /// As containerd names it.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Wherry => "io.containerd.wherry.v1",
            Runtime::Runc => "io.containerd.runc.v2",
        }
    }

    /// The program that containerd of this version would start.
    pub fn shim(self, version: Version) -> Result<PathBuf> {
        match self {
            Runtime::Wherry => Ok(programs()?.join("containerd-shim-wherry-v1")),
            Runtime::Runc => Ok(version.programs()?.join("containerd-shim-runc-v2")),
        }
    }

    /// The file of a guest for this runtime: Wasm, or the same source built for this machine.
    pub fn guest(self, name: &str) -> Result<PathBuf> {
        match self {
            Runtime::Wherry => crate::guests::path(name),
            Runtime::Runc => crate::guests::native(name)
                .with_context(|| format!("{name} has no form for runc; run this case on wherry")),
        }
    }
}
