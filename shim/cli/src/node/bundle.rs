//! A container's bundle: the folder where containerd and the shim write down what it is.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A folder of containerd's, `<state>/io.containerd.runtime.v2.task/<namespace>/<id>`.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    /// Where its shim listens.
    pub(crate) socket: Option<PathBuf>,
    /// The program that containerd started for it.
    pub(crate) program: Option<PathBuf>,
    pub(crate) state: Option<State>,
    pub(crate) spec: Spec,
}

/// `wherry.json`, which the shim writes for whoever cleans up without it (`shim/src/state_file.rs`).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) cgroup: Option<Groups>,
    #[serde(default)]
    pub(crate) guest: Option<Pid>,
    #[serde(default)]
    pub(crate) native: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    pub(crate) exit: Option<Exit>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Groups {
    #[serde(default)]
    pub(crate) folders: Vec<Group>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) path: PathBuf,
}

/// A process, told from a later one of its pid by its start (field 22 of proc(5)'s `stat`).
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Pid {
    pub(crate) pid: u32,
    pub(crate) started: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Exit {
    pub(crate) status: u32,
}

/// The few things of `config.json` that tell a person which container it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    pub(crate) process: SpecProcess,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SpecProcess {
    pub(crate) args: Vec<String>,
}

impl Bundle {
    /// The bundles of one of containerd's namespaces. `folder` is opened below `root`.
    pub(crate) fn all(root: &Path, folder: &Path) -> Vec<Bundle> {
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let entries = std::fs::read_dir(below(folder)).into_iter().flatten().flatten();
        let ids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut ids: Vec<String> = ids.filter(|id| !id.starts_with('.')).collect();
        ids.sort();
        ids.into_iter()
            .map(|id| Bundle::read(below(&folder.join(&id)), folder.join(&id), id))
            .collect()
    }

    fn read(opened: PathBuf, path: PathBuf, id: String) -> Bundle {
        let text = |name: &str| std::fs::read_to_string(opened.join(name)).ok();
        // A container of a sandbox that containerd made by itself has only the second.
        let told = || -> Option<String> {
            let json: serde_json::Value = serde_json::from_str(&text("bootstrap.json")?).ok()?;
            Some(json["address"].as_str()?.to_owned())
        };
        let socket = text("address").or_else(told).map(|address| {
            let address = address.trim();
            address.strip_prefix("unix://").unwrap_or(address).into()
        });
        Bundle {
            socket,
            program: text("shim-binary-path").map(|path| path.trim().into()),
            state: text("wherry.json").and_then(|json| serde_json::from_str(&json).ok()),
            spec: text("config.json")
                .and_then(|json| serde_json::from_str(&json).ok())
                .unwrap_or_default(),
            path,
            id,
        }
    }

    /// Whether it is a container of ours. One that containerd has just begun has only the program.
    pub(crate) fn is_ours(&self) -> bool {
        let named =
            |path: &PathBuf| path.file_name().is_some_and(|name| name == super::shim::PROGRAM);
        self.state.is_some() || self.program.as_ref().is_some_and(named)
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<String> {
        self.spec.annotations.get(key).cloned()
    }

    /// Its first process, as long as it is that.
    pub(crate) fn process(&self) -> Option<super::Process> {
        let noted = self.state.as_ref()?.guest?;
        super::Process::of(noted.pid).filter(|process| process.stat.starttime == noted.started)
    }
}
