//! What this node is: the containerd that really runs, its files, and what they come to. Reads, and asks.

mod kubelet;
mod process;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wherry_containerd::{Distribution, Effective, File, Node, Own, Release, Seen, imported};

use crate::args::Place;
use crate::home;
use crate::journal::{Daemon, Record, Supervisor};
use crate::run::{PATIENCE, run};

const CONFIG: &str = "/etc/containerd/config.toml";

/// A node, and the daemon on it.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) node: Node,
    pub(crate) daemon: Daemon,
    pub(crate) program: PathBuf,
    /// As `containerd --version` tells it.
    pub(crate) version: String,
    /// The number in the main file; 0 if there is no file.
    pub(crate) config_version: u32,
    /// systemd's; empty without.
    pub(crate) unit: String,
}

impl Look {
    pub(crate) fn at(place: &Place) -> Result<Look> {
        let process = process::find(place.config.as_deref())?;
        let program = match &place.containerd {
            Some(program) => program.clone(),
            None => process.program()?,
        };
        let named = process.main();
        let main = named.clone().unwrap_or_else(|| CONFIG.into());
        let effective = dump(&program, named.as_deref())?;
        let told = run(Command::new(&program).arg("--version"), PATIENCE)?.stdout;
        let Some(release) = Release::of(&told) else {
            bail!("{} tells no version: {told}", program.display());
        };
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let distribution = Distribution::of(&Seen { os_release: &os_release, main: &main });
        let files = files(&main, &effective, release)?;
        let address = process.address_flag().unwrap_or_else(|| effective.address());
        let version = told.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let config_version =
            files[0].text.as_deref().map_or(Ok(0), wherry_containerd::version_of)?;
        let unit = place.unit.clone().unwrap_or_else(|| process.unit().unwrap_or_default());
        let supervisor = match (&place.restart_with, &distribution, unit.as_str()) {
            (Some(words), ..) => Supervisor::Command(words.clone()),
            (None, Distribution::K0s, _) | (None, _, "") => Supervisor::Nobody,
            (None, _, unit) => Supervisor::Unit(unit.to_owned()),
        };
        Ok(Look {
            node: Node {
                templates: templates(&distribution)?,
                distribution,
                release,
                files,
                effective,
                own: own()?,
            },
            daemon: Daemon { address, supervisor },
            program,
            version,
            config_version,
            unit,
        })
    }

    /// Where the kubelet would have a pod's cgroup, more or less: in the form that the node's driver takes.
    pub(crate) fn cgroup_parent(&self) -> String {
        let systemd = self.node.effective.cri().and_then(|cri| {
            cri.handlers.get(cri.default_handler)?.get("options")?.get("SystemdCgroup")?.as_bool()
        });
        if systemd == Some(true) { "system.slice".into() } else { "/".into() }
    }

    /// Programs of containers that containerd knows, by their bundles, with the id and the pod of each.
    pub(crate) fn bundles(&self) -> Vec<Bundle> {
        let all = self.node.effective.state().join("io.containerd.runtime.v2.task");
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let bundles = folders(&all).flat_map(|namespace| folders(&namespace.path()));
        bundles.filter_map(|bundle| Bundle::read(&bundle.path())).collect()
    }
}

/// A container, by what containerd wrote down of it.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) id: String,
    pub(crate) pod: String,
    /// The program that containerd started for it, by the path that it was told.
    pub(crate) program: PathBuf,
}

impl Bundle {
    fn read(folder: &Path) -> Option<Bundle> {
        let program = fs::read_to_string(folder.join("shim-binary-path")).ok()?;
        let spec = fs::read(folder.join("config.json")).unwrap_or_default();
        let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap_or_default();
        let of =
            |key: &str| spec["annotations"][format!("io.kubernetes.cri.sandbox-{key}")].as_str();
        let pod = of("namespace").zip(of("name")).map(|(space, name)| format!("{space}/{name}"));
        Some(Bundle {
            id: folder.file_name()?.to_string_lossy().into_owned(),
            pod: pod.unwrap_or_default(),
            program: program.trim().into(),
        })
    }
}

fn own() -> Result<Own> {
    let handlers = Record::read()?.map(|record| record.handlers).unwrap_or_default();
    Ok(Own { program: home::SHIM.into(), handlers })
}

fn file(path: &Path) -> Result<File> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("can't read {}", path.display()));
        }
    };
    Ok(File { path: path.to_owned(), text })
}

fn templates(distribution: &Distribution) -> Result<Vec<File>> {
    let names: (&Path, &[&str]) = match distribution {
        Distribution::K3s(folder) | Distribution::Rke2(folder) => {
            (folder, &["config.toml.tmpl", "config-v3.toml.tmpl"])
        }
        Distribution::MicroK8s(folder) => (folder, &["containerd-template.toml"]),
        _ => return Ok(Vec::new()),
    };
    names.1.iter().map(|name| file(&names.0.join(name))).collect()
}

/// What these files come to, in the words of the node's own containerd.
pub(crate) fn dump(program: &Path, main: Option<&Path>) -> Result<Effective> {
    let ask = |what| {
        let mut command = Command::new(program);
        command.args(main.map(|main| [Path::new("--config"), main]).into_iter().flatten());
        run(command.args(["config", what]), PATIENCE)
    };
    let mut output = ask("dump")?;
    // A file that is named must be there; the usual one need not. Without it a daemon of 1.x runs on its defaults
    // like any other, but its `config dump` fails (1.7, cmd/containerd/command: main.go asks whether there is a file,
    // config.go does not).
    if !output.status.success() && main.is_none() && !Path::new(CONFIG).exists() {
        output = ask("default")?;
    }
    if !output.status.success() {
        bail!("containerd does not take its configuration: {}", output.complaint());
    }
    Ok(Effective::read(&output.stdout)?)
}

/// The files, in the order in which they are read: each, and behind all that are known by then what it imports.
fn files(main: &Path, effective: &Effective, release: Release) -> Result<Vec<File>> {
    let mut files = vec![file(main)?];
    if !release.merges() {
        // It lists what it has read, and the main file among it.
        for import in effective.imports().into_iter().map(Path::new).filter(|path| *path != main) {
            files.push(file(import)?);
        }
        return Ok(files);
    }
    let mut at = 0;
    while let Some(File { path, text }) = files.get(at).cloned() {
        let imports = wherry_containerd::imports_of(text.as_deref().unwrap_or_default());
        let imports = imports.with_context(|| path.display().to_string())?;
        for path in imported(&path, &imports, entries) {
            if !files.iter().any(|known| known.path == path) {
                files.push(file(&path)?);
            }
        }
        at += 1;
    }
    Ok(files)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
