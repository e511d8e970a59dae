//! The containerd that runs, found among the processes of the node.
//!
//! Without the right to trace others (a Job has none) their program and environment are not told; their words and
//! their cgroup are, to everybody (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wherry_containerd::flag;

use super::kubelet;

#[derive(Debug)]
pub(super) struct Process {
    folder: PathBuf,
    words: Vec<String>,
}

/// The one with this configuration file; without, the service of the node that its kubelet talks to.
pub(super) fn find(config: Option<&Path>) -> Result<Process> {
    let all = every("containerd")?;
    // `containerd config dump` is another thing.
    let is_daemon =
        |one: &Process| !one.words.iter().skip(1).any(|word| word == "config" || word == "publish");
    let mut found: Vec<Process> = all.into_iter().filter(is_daemon).collect();
    match config {
        Some(config) => found.retain(|one| one.main().as_deref() == Some(config)),
        // Those of nodes and engines within containers are no services of this one.
        None if found.iter().any(|one| one.unit().is_some()) => {
            found.retain(|one| one.unit().is_some());
        }
        None => {}
    }
    if found.len() > 1 {
        let kubelets = every("kubelet")?;
        let endpoint = match kubelets.iter().find(|one| one.unit().is_some()) {
            Some(kubelet) => Some(kubelet::endpoint(kubelet)?),
            None => None,
        };
        if let Some(meant) = kubelet::of(&found, endpoint.as_deref()) {
            found = vec![found.swap_remove(meant)];
        }
    }
    if found.len() > 1 {
        let all: Vec<String> = found.iter().map(|one| one.words.join(" ")).collect();
        bail!(
            "several containerds run here, and none of them is where the kubelet's --container-runtime-endpoint \
             points to: name the --config of one of them: {}",
            all.join("; ")
        );
    }
    found.pop().with_context(|| match config {
        Some(config) => format!("no containerd runs with {}", config.display()),
        None => "no containerd runs here".into(),
    })
}

/// Those of this name, but for those in containers, where that can be seen.
fn every(name: &str) -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("can't read the node's /proc")?.flatten();
    Ok(entries.filter_map(|entry| Process::read(&entry.path(), name)).collect())
}

impl Process {
    fn read(folder: &Path, wanted: &str) -> Option<Process> {
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        if name.trim_end() != wanted {
            return None;
        }
        // Of another root are those in containers.
        let root = |path: &Path| fs::metadata(path).map(|root| (root.dev(), root.ino()));
        if let (Ok(its), Ok(ours)) = (root(&folder.join("root")), root(Path::new("/")))
            && its != ours
        {
            return None;
        }
        let words = fs::read(folder.join("cmdline")).ok()?;
        let words =
            words.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        (!words.is_empty()).then(|| Process { folder: folder.to_owned(), words })
    }

    /// The configuration file that it was started with; None if it has the usual one.
    pub(super) fn main(&self) -> Option<PathBuf> {
        self.flag(&["-c", "--config"])
    }

    /// Where it listens, if that is not what its configuration says.
    pub(super) fn address_flag(&self) -> Option<PathBuf> {
        self.flag(&["-a", "--address"])
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Result<PathBuf> {
        match self.address_flag() {
            Some(address) => Ok(address),
            None => Ok(super::dump(&self.program()?, self.main().as_deref())?.address()),
        }
    }

    /// Its program. One that was started by its name alone is where its distribution keeps it.
    pub(super) fn program(&self) -> Result<PathBuf> {
        if let Ok(told) = fs::read_link(self.folder.join("exe"))
            && told.exists()
        {
            return Ok(told);
        }
        let name = Path::new(&self.words[0]);
        let folders = [
            "/usr/bin",
            "/usr/local/bin",
            "/var/lib/rancher/k3s/data/current/bin",
            "/var/lib/rancher/rke2/bin",
            "/var/lib/k0s/bin",
            "/snap/microk8s/current/bin",
        ];
        let mut all = folders.iter().map(|folder| Path::new(folder).join(name));
        all.find(|path| path.is_file()).with_context(|| {
            format!("where is the program of {}? name it with --containerd", name.display())
        })
    }

    /// The unit that it is of: the last service in its cgroup, if that is not a pod's or a container's.
    pub(super) fn unit(&self) -> Option<String> {
        let groups = fs::read_to_string(self.folder.join("cgroup")).ok()?;
        let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
        groups.lines().filter(of_systemd).find_map(|line| {
            let path = line.splitn(3, ':').nth(2)?;
            let inner = ["kubepods", "docker", "libpod", "machine.slice", "cri-containerd"];
            if inner.iter().any(|name| path.contains(name)) {
                return None;
            }
            let mut parts = path.split('/').rev();
            parts.find(|part| part.ends_with(".service")).map(str::to_owned)
        })
    }

    /// The value of a flag, in one word with it or in the next.
    pub(super) fn flag(&self, names: &[&str]) -> Option<PathBuf> {
        flag(&self.words, names).map(PathBuf::from)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::look) fn process(
        name: &str,
        words: &str,
        cgroup: &str,
    ) -> (tempfile::TempDir, Process) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("comm"), format!("{name}\n")).expect("a file");
        fs::write(folder.path().join("cmdline"), words.replace(' ', "\0")).expect("a file");
        fs::write(folder.path().join("cgroup"), cgroup).expect("a file");
        let process = Process::read(folder.path(), name).expect("a daemon");
        (folder, process)
    }

    #[test]
    fn a_service_of_the_node_is_told_from_one_within_a_container() {
        let unit = |cgroup: &str| process("containerd", "/usr/bin/containerd", cgroup).1.unit();
        assert_eq!(
            unit("0::/system.slice/containerd.service\n").as_deref(),
            Some("containerd.service")
        );
        assert_eq!(
            unit("1:name=systemd:/system.slice/k3s.service\n").as_deref(),
            Some("k3s.service")
        );
        assert_eq!(
            unit("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope/x.service\n"),
            None
        );
        assert_eq!(unit("0::/system.slice/docker-1.scope/system.slice/containerd.service\n"), None);
        assert_eq!(unit("5:memory:/a.service\n0::/\n"), None);
    }
}
