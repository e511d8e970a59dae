//! What containerd hands over becomes a [`Plan`], or is refused by name.
//!
//! ```text
//! config.json ── parse ──► Spec ─┐
//! runtime options ── Options ────┼── plan ──► Plan, or Refusal
//! facts of the node ─────────────┘
//! ```
//!
//! Everything of `config.json` is either in the plan, or means nothing to a Wasm guest and is said
//! to mean nothing where it is dropped, or is a [`Refusal`] that names the field. Where the runtime
//! spec leaves a choice, runc's is taken (`libcontainer/specconv/spec_linux.go` and
//! `libcontainer/configs/validate`, v1.5.2): it is what everyone's pods were written against.
//!
//! Nothing here looks at the machine. What has to be looked up comes as [`Facts`].

mod annotations;
mod capabilities;
mod cgroup;
mod devices;
mod exec;
mod features;
mod lookup;
mod mounts;
mod namespaces;
mod options;
pub mod pod;
mod preopens;
mod process;
mod refusal;
mod unsupported;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, Linux, Process, Spec};

pub use annotations::{PREFIX as ANNOTATION_PREFIX, RootPreopen};
pub use exec::exec;
pub use features::{features, features_with};
pub use lookup::{Lookup, Role, lookup};
pub use options::{CgroupDriver, Options, RuncOptions, no_criu};
pub use refusal::{Refusal, Refused};

use crate::plan::{Plan, Propagation, Run, Sandbox};
use annotations::Settings;
use refusal::{invalid, unsupported};

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub spec: &'a Spec,
    /// The folder with `config.json`; absolute.
    pub bundle: &'a Path,
    /// containerd's namespace, such as `k8s.io`.
    pub namespace: &'a str,
    pub id: &'a str,
    pub options: &'a Options,
    pub facts: &'a Facts,
}

/// What the shim found out about the node and about this bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub cgroup: CgroupVersion,
    /// systemd is PID 1 here and answers on its bus (`/run/systemd/system` exists, `sd_booted(3)`).
    pub systemd: bool,
    /// Processors the shim may run on.
    pub cpus: NonZeroU16,
    /// The kernel has AppArmor, and it is on.
    pub apparmor: bool,
    /// The kernel has SELinux, and it is on.
    pub selinux: bool,
    /// Those of [`bind_sources`] that are folders.
    pub directories: BTreeSet<PathBuf>,
}

/// The hierarchy that holds the controllers. A hybrid machine, with its controllers in v1, is `V1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    V1,
    V2,
}

/// Reads `config.json`. A value of the wrong kind is refused with the path of its field.
pub fn parse(json: &str) -> Result<Spec, Refusal> {
    // Keeping track of the path costs time, and nearly every spec is sound: only look again for it.
    if let Ok(spec) = serde_json::from_str(json) {
        return Ok(spec);
    }
    let read = &mut serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(read).map_err(|error| {
        let field = error.path().to_string();
        // What breaks off or starts wrong has no path.
        let field = if field == "." || field == "?" { "config.json".to_owned() } else { field };
        invalid(field, format!("can't be read: {}", error.inner()))
    })
}

/// The host paths whose kind [`Facts::directories`] has to tell: sources of bind mounts.
#[must_use]
pub fn bind_sources(spec: &Spec, bundle: &Path) -> Vec<PathBuf> {
    let mounts = spec.mounts().iter().flatten();
    mounts.filter(|mount| mounts::is_bind(mount)).map(|m| mounts::bind_source(m, bundle)).collect()
}

/// Decides everything about one container.
pub fn plan(input: Input<'_>) -> Result<Plan, Refusal> {
    let spec = input.spec;
    version(spec.version())?;
    unsupported::check(spec)?;
    let Some(process) = spec.process() else {
        return Err(invalid("process", "is missing: a container needs a process to run"));
    };
    let Some(linux) = spec.linux() else {
        return Err(invalid("linux", "is missing: a container needs at least a mount namespace"));
    };
    let annotations: BTreeMap<String, String> =
        spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let settings = Settings::read(&annotations, input.options)?;
    let destinations = spec.mounts().iter().flatten().map(|mount| mount.destination().as_path());
    let args = process::without_init(&process::args(process)?, destinations).to_vec();
    let env = process::env(process)?;
    let cwd = process::cwd(process)?;
    let program = process::program(&args[0], &env, &cwd)?;
    let sandbox = sandbox(input, process, linux)?;
    let preopens = preopens::of(&sandbox, settings.root, &input.facts.directories);
    let run = Run {
        args,
        env,
        cwd,
        export: program.export.clone(),
        preopens,
        http_listen: settings.http_listen,
        threads: cgroup::threads(linux, input.facts.cpus)?,
        memory_limit: cgroup::memory_limit(linux),
    };
    Ok(Plan {
        id: input.id.to_owned(),
        bundle: input.bundle.to_owned(),
        program,
        cgroup: cgroup::of(input, linux)?,
        sandbox,
        run,
        hooks: hooks(spec)?,
        annotations,
        terminal: process::terminal(process)?,
    })
}

/// A later minor version only adds to an earlier one (runtime spec, config.md, "Specification
/// version"); tools that leave the version out write for 1.x.
fn version(version: &str) -> Result<(), Refusal> {
    match version.is_empty() || version.starts_with("1.") {
        true => Ok(()),
        false => Err(unsupported(
            "ociVersion",
            format!("is {version:?}: Wherry knows version 1 of the runtime specification"),
        )),
    }
}

fn sandbox(input: Input<'_>, process: &Process, linux: &Linux) -> Result<Sandbox, Refusal> {
    let spec = input.spec;
    let Some(root) = spec.root() else {
        return Err(invalid("root", "is missing: a container needs a root file system"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(invalid("root.path", "is empty"));
    }
    let namespaces = namespaces::of(linux)?;
    let (uid_mappings, gid_mappings) = namespaces::mappings(linux, &namespaces)?;
    let own_ids = namespaces::own_ids(&namespaces, &uid_mappings, &gid_mappings);
    let hostname = namespaces::host_name("hostname", spec.hostname(), &namespaces)?;
    let domainname = namespaces::host_name("domainname", spec.domainname(), &namespaces)?;
    Ok(Sandbox {
        rootfs: input.bundle.join(root.path()),
        rootfs_readonly: root.readonly().unwrap_or(false),
        rootfs_propagation: rootfs_propagation(linux)?,
        sysctl: namespaces::sysctl(linux, &namespaces)?,
        namespaces,
        uid_mappings,
        gid_mappings,
        mounts: mounts::of(spec, input.bundle, own_ids.as_ref())?,
        devices: devices::nodes(linux)?,
        masked_paths: absolute("linux.maskedPaths", linux.masked_paths())?,
        readonly_paths: absolute("linux.readonlyPaths", linux.readonly_paths())?,
        hostname,
        domainname,
        rlimits: process::rlimits(process)?,
        user: process::user(process)?,
        capabilities: capabilities::of(process),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        seccomp: linux.seccomp().clone(),
        apparmor_profile: process::apparmor(process, input.facts)?,
        selinux_label: process::selinux(process, input.facts)?,
        selinux_mount_label: linux.mount_label().clone().filter(|label| !label.is_empty()),
        oom_score_adj: process::oom_score_adj(process)?,
        cwd: process::cwd(process)?.into(),
    })
}

fn rootfs_propagation(linux: &Linux) -> Result<Option<Propagation>, Refusal> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(None),
        Some(word) => match mounts::propagation(word) {
            Some((propagation, _)) => Ok(Some(propagation)),
            None => Err(invalid(
                "linux.rootfsPropagation",
                format!("is {word:?}: it must be one of private, slave, shared and unbindable"),
            )),
        },
    }
}

fn absolute(field: &str, paths: &Option<Vec<String>>) -> Result<Vec<PathBuf>, Refusal> {
    let paths = paths.iter().flatten().enumerate();
    paths
        .map(|(n, path)| match path.starts_with('/') && !path.contains('\0') {
            true => Ok(PathBuf::from(path)),
            false => Err(invalid(
                format!("{field}[{n}]"),
                format!("is {path:?}: it must be an absolute path"),
            )),
        })
        .collect()
}

fn hooks(spec: &Spec) -> Result<Hooks, Refusal> {
    let Some(hooks) = spec.hooks() else { return Ok(Hooks::default()) };
    // Docker up to 27 hands its network over in a `prestart` hook; deprecated is not unused.
    #[allow(deprecated)]
    let points: [(&str, &Option<Vec<Hook>>); 6] = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (point, hooks) in points {
        for (n, hook) in hooks.iter().flatten().enumerate() {
            let field = format!("hooks.{point}[{n}]");
            if !hook.path().is_absolute() {
                let path = hook.path().display();
                return Err(invalid(
                    field + ".path",
                    format!("is \"{path}\": it must be an absolute path"),
                ));
            }
            if let Some(seconds) = hook.timeout().filter(|seconds| *seconds <= 0) {
                return Err(invalid(
                    field + ".timeout",
                    format!("is {seconds}: it must be more than zero seconds"),
                ));
            }
        }
    }
    Ok(hooks.clone())
}

/// Refuses text that would end early in the kernel's hands.
fn no_nul<'a>(field: &str, text: &'a str) -> Result<&'a str, Refusal> {
    match text.contains('\0') {
        true => Err(invalid(field, "contains a NUL character")),
        false => Ok(text),
    }
}
