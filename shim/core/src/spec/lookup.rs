//! Where a program is to be looked for, and the little that has to be known of a native container.
//!
//! A native container is carried out by runc, which reads `config.json` itself. What a Wasm guest
//! can't be given must therefore not refuse it, not even a field that no library of ours knows: so
//! this reads the spec on its own, and only what it needs.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::mounts::clean;
use super::options::CgroupDriver;
use super::process::{candidates, without_init};
use super::{Facts, Refusal, invalid};
use crate::plan::Program;

/// What tells where a program's file is while its container is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub program: Program,
    /// The mounted root file system, absolute in the shim's mount namespace.
    pub rootfs: PathBuf,
    /// What is mounted over it, in order; without a source nothing can be found there yet.
    pub mounts: Vec<Mounted>,
    /// The container's processes end with its init: it makes a pid namespace of its own.
    pub own_pids: bool,
    pub role: Role,
    cgroups_path: String,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A program, Wasm or native.
    Program,
    /// What holds the namespaces of a Kubernetes pod. Its image, the node's pause image, is not run: all of them do
    /// the same, and the shim can do it with less.
    Pause,
}

/// As containerd's CRI plugin and cri-o annotate containers (containerd 2.4, `internal/cri/annotations`).
pub(super) const KINDS: [&str; 2] =
    ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub destination: PathBuf,
    /// The host's folder or file behind a bind mount.
    pub source: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    process: Process,
    #[serde(default)]
    root: Root,
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
    #[serde(default)]
    linux: Linux,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Process {
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    cwd: String,
}

#[derive(Default, Deserialize)]
struct Root {
    #[serde(default)]
    path: PathBuf,
}

#[derive(Deserialize)]
struct Mount {
    destination: PathBuf,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    source: PathBuf,
    #[serde(default)]
    options: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<Namespace>>,
    #[serde(default, rename = "cgroupsPath")]
    cgroups_path: String,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: PathBuf,
}

/// Reads where to look out of `config.json`.
pub fn lookup(json: &str, bundle: &Path) -> Result<Lookup, Refusal> {
    let spec: Spec = serde_json::from_str(json)
        .map_err(|e| invalid("config.json", format!("can't be read: {e}")))?;
    let args = spec.process.args.as_deref().unwrap_or_default();
    let destinations = spec.mounts.iter().flatten().map(|mount| mount.destination.as_path());
    let Some(arg0) = without_init(args, destinations).first() else {
        return Err(invalid("process.args", "is empty: its first entry names the program to run"));
    };
    let name = arg0.split_once('#').map_or(arg0.as_str(), |(name, _)| name);
    let cwd = clean(Path::new(&spec.process.cwd));
    let env: Vec<(String, String)> = spec
        .process
        .env
        .iter()
        .flatten()
        .rev()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let candidates = candidates(name, &env, &cwd.to_string_lossy());
    let bound = |mount: &Mount| {
        let mut words = mount.options.iter().flatten();
        mount.kind == "bind" || words.any(|word| word == "bind" || word == "rbind")
    };
    let mounts = spec.mounts.iter().flatten().map(|mount| Mounted {
        destination: clean(&mount.destination),
        source: bound(mount).then(|| bundle.join(&mount.source)),
    });
    let own = |n: &Namespace| n.kind == "pid" && n.path.as_os_str().is_empty();
    Ok(Lookup {
        program: Program { name: name.to_owned(), export: None, candidates },
        rootfs: bundle.join(&spec.root.path),
        mounts: mounts.collect(),
        own_pids: spec.linux.namespaces.iter().flatten().any(own),
        role: role(&spec.annotations.unwrap_or_default()),
        cgroups_path: spec.linux.cgroups_path,
    })
}

fn role(annotations: &BTreeMap<String, String>) -> Role {
    if is_sandbox(annotations) { Role::Pause } else { Role::Program }
}

/// Whether a container is the one that a pod's other containers share namespaces with.
pub(super) fn is_sandbox(annotations: &BTreeMap<String, String>) -> bool {
    let sandbox = |key| annotations.get(key).is_some_and(|kind| kind == "sandbox");
    KINDS.into_iter().any(sandbox)
}

impl Lookup {
    /// The host's folder or file that holds this path of the container, and the rest of the path.
    /// None below what is only mounted with the container.
    #[must_use]
    pub fn place(&self, path: &Path) -> (Option<&Path>, PathBuf) {
        let mounts = self.mounts.iter().enumerate();
        let holding = mounts.filter(|(_, mount)| path.starts_with(&mount.destination));
        // Of two on the same place, the later one is on top.
        let top = holding.max_by_key(|(at, mount)| (depth(&mount.destination), *at));
        match top {
            None => (Some(&self.rootfs), path.to_owned()),
            Some((_, mount)) => {
                let rest = path.strip_prefix(&mount.destination).unwrap_or(path);
                (mount.source.as_deref(), rest.to_owned())
            }
        }
    }

    /// The cgroup that runc makes by itself, where the spec names it; a path that is not absolute
    /// only runc can tell.
    #[must_use]
    pub fn cgroup(&self) -> Option<PathBuf> {
        self.cgroups_path.starts_with('/').then(|| clean(Path::new(&self.cgroups_path)))
    }

    /// Whether runc is to ask systemd for the container's cgroup: as for a Wasm container, the form
    /// of the path decides, unless the administrator does.
    #[must_use]
    pub fn systemd_cgroup(&self, driver: CgroupDriver, facts: &Facts) -> bool {
        let path = &self.cgroups_path;
        match driver {
            CgroupDriver::Systemd => true,
            CgroupDriver::Cgroupfs => false,
            CgroupDriver::Auto => {
                facts.systemd && !path.starts_with('/') && path.matches(':').count() == 2
            }
        }
    }
}

fn depth(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, expected: Expect) {
        let text = match lookup(json, Path::new("/b")) {
            Err(refusal) => refusal.to_string(),
            Ok(lookup) => {
                let candidates = lookup.program.candidates.iter().map(|path| {
                    let (base, rest) = lookup.place(path);
                    format!("{}: {base:?} {rest:?}\n", path.display())
                });
                candidates.chain([format!("own pids: {}", lookup.own_pids)]).collect()
            }
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_program_is_looked_for_where_the_container_will_have_it() {
        check(
            r#"{"process": {"args": ["tool"], "cwd": "/w/../w", "env": ["PATH=/bin", "PATH=/opt/x:/usr/bin"],
                            "capabilities": {"bounding": ["CAP_OF_TOMORROW"]}},
                "root": {"path": "rootfs"},
                "mounts": [{"destination": "/opt", "type": "bind", "source": "/host/opt"},
                           {"destination": "/opt/x", "type": "tmpfs", "source": "tmpfs"},
                           {"destination": "/w", "type": "none", "source": "w", "options": ["rbind"]}],
                "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}]}}"#,
            expect![[r#"
                /opt/x/tool: None "tool"
                /usr/bin/tool: Some("/b/rootfs") "/usr/bin/tool"
                /w/tool: Some("/b/w") "tool"
                /tool: Some("/b/rootfs") "/tool"
                own pids: true"#]],
        );
        check(
            r#"{"process": {"args": ["/a#run"], "cwd": "/"}, "root": {"path": "/r"},
                "linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}"#,
            expect![[r#"
                /a: Some("/r") "/a"
                own pids: false"#]],
        );
        check(
            r#"{"process": {"args": []}}"#,
            expect!["process.args is empty: its first entry names the program to run"],
        );
    }

    #[test]
    fn a_pods_sandbox_is_known_by_its_annotation() {
        let role = |annotations: &str| {
            let json =
                format!(r#"{{"process": {{"args": ["/pause"]}}, "annotations": {annotations}}}"#);
            lookup(&json, Path::new("/b")).unwrap().role
        };
        assert_eq!(role(r#"{"io.kubernetes.cri.container-type": "sandbox"}"#), Role::Pause);
        assert_eq!(role(r#"{"io.kubernetes.cri-o.ContainerType": "sandbox"}"#), Role::Pause);
        assert_eq!(role(r#"{"io.kubernetes.cri.container-type": "container"}"#), Role::Program);
        assert_eq!(role("null"), Role::Program);
    }
}
