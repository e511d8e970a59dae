//! The shims that run, and where each has the bundles of its containers.

use std::path::{Path, PathBuf};

use procfs::process::FDTarget;

use super::Process;
use super::bundle::Bundle;

pub(crate) use wherry_containerd::SHIM as PROGRAM;

/// Below containerd's state: a folder for each namespace, in which there is one for each container.
pub(crate) const BUNDLES: &str = "io.containerd.runtime.v2.task";

/// The same of sandboxes, where a handler has `sandboxer = "shim"`.
const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";

#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) process: Process,
    /// containerd's.
    pub(crate) namespace: String,
    /// The pod's sandbox, or the one container.
    pub(crate) id: String,
    /// containerd's socket.
    pub(crate) containerd: PathBuf,
    /// Where it listens.
    pub(crate) sockets: Vec<PathBuf>,
    /// What it was started for: the bundle of a container or of a sandbox.
    pub(crate) bundle: Option<PathBuf>,
}

/// The shims among `processes`.
pub(crate) fn among(processes: Vec<Process>) -> Vec<Shim> {
    processes.into_iter().filter_map(Shim::read).collect()
}

impl Shim {
    /// A shim leads a session of its own; what containerd runs to start or delete one does not.
    fn read(process: Process) -> Option<Shim> {
        // The kernel cuts names after 15 bytes. The file is looked at only where that fits.
        if process.stat.comm != PROGRAM[..15] || process.stat.session != process.pid {
            return None;
        }
        if !process.runs(PROGRAM) {
            return None;
        }
        let words = process.words();
        let flag = |name: &str| {
            let at = words.iter().position(|word| word.trim_start_matches('-') == name)?;
            words.get(at + 1).cloned()
        };
        let files = process.open_files();
        // Its log is a FIFO in the bundle that it was started for.
        let bundle = files.iter().find_map(|file| match file {
            FDTarget::Path(path) => bundle_of_log(path),
            _ => None,
        });
        let sockets = process.unix_sockets().into_iter().filter(|socket| {
            let held =
                |file: &FDTarget| matches!(file, FDTarget::Socket(inode) if *inode == socket.inode);
            files.iter().any(held)
        });
        let mut sockets: Vec<PathBuf> = sockets.filter_map(|socket| socket.path).collect();
        sockets.sort();
        sockets.dedup();
        Some(Shim {
            namespace: flag("namespace").unwrap_or_default(),
            id: flag("id").unwrap_or_default(),
            containerd: flag("address").unwrap_or_default().into(),
            bundle,
            sockets,
            process,
        })
    }

    /// The bundles of its containers.
    pub(crate) fn bundles(&self) -> Vec<Bundle> {
        let Some(folder) = self.bundle.as_deref().and_then(tasks_beside) else { return Vec::new() };
        let all = Bundle::all(&self.process.sees(Path::new("/")), &folder);
        all.into_iter().filter(|bundle| self.listens_for(bundle)).collect()
    }

    /// Whether there is something that it is for.
    pub(crate) fn is_wanted(&self) -> bool {
        let Some(bundle) = &self.bundle else { return true };
        self.process.sees(bundle).exists() || !self.bundles().is_empty()
    }

    pub(crate) fn listens_for(&self, bundle: &Bundle) -> bool {
        bundle.socket.as_ref().is_some_and(|socket| self.sockets.contains(socket))
    }
}

/// `<state>/io.containerd.runtime.v2.task/<namespace>/<id>`, of the path of the log in it.
fn bundle_of_log(path: &Path) -> Option<PathBuf> {
    let text = path.to_string_lossy();
    let path = Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text));
    let bundle = path.parent()?;
    let plugin = bundle.parent()?.parent()?.file_name()?;
    let is_bundle = plugin == BUNDLES || plugin == SANDBOXES;
    (path.file_name()? == "log" && is_bundle).then(|| bundle.to_owned())
}

/// The folder of the bundles of a namespace's containers, by any bundle of that namespace.
fn tasks_beside(bundle: &Path) -> Option<PathBuf> {
    let namespace = bundle.parent()?;
    Some(namespace.parent()?.with_file_name(BUNDLES).join(namespace.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_its_bundle() {
        let of = |path: &str| bundle_of_log(Path::new(path)).map(|b| b.display().to_string());
        let state = "/run/containerd/io.containerd.runtime.v2.task";
        let log = format!("{state}/k8s.io/c1/log");
        assert_eq!(of(&log), Some(format!("{state}/k8s.io/c1")));
        assert_eq!(of(&format!("{log} (deleted)")), Some(format!("{state}/k8s.io/c1")));
        assert_eq!(of("/var/log/a/b/log"), None);
        assert_eq!(of(&format!("{state}/k8s.io/c1/other")), None);
        assert_eq!(of("log"), None);
        let sandbox = "/run/containerd/io.containerd.sandbox.controller.v1.shim/k8s.io/s1";
        assert_eq!(of(&format!("{sandbox}/log")).as_deref(), Some(sandbox));
        assert_eq!(tasks_beside(Path::new(sandbox)), Some(format!("{state}/k8s.io").into()));
    }
}
