//! The containerd that runs, found among the processes of the node.
//!
//! Without the right to trace others (a Job has none) their program and environment are not told; their words and
//! their cgroup are, to everybody (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wherry_containerd::flag;

#[derive(Debug)]
pub(super) struct Process {
    folder: PathBuf,
    words: Vec<String>,
}

/// The one with this configuration file; without, the one that is a service of the node.
pub(super) fn find(config: Option<&Path>) -> Result<Process> {
    let entries = fs::read_dir("/proc").context("can't read the node's /proc")?.flatten();
    let mut found: Vec<Process> =
        entries.filter_map(|entry| Process::read(&entry.path())).collect();
    match config {
        Some(config) => {
            found.retain(|one| one.flag(&["-c", "--config"]).as_deref() == Some(config))
        }
        // Those of nodes and engines within containers are no services of this one.
        None if found.iter().any(|one| one.unit().is_some()) => {
            found.retain(|one| one.unit().is_some());
        }
        None => {}
    }
    if found.len() > 1 {
        let all: Vec<String> = found.iter().map(|one| one.words.join(" ")).collect();
        bail!("several containerds run here, name the --config of one: {}", all.join("; "));
    }
    found.pop().with_context(|| match config {
        Some(config) => format!("no containerd runs with {}", config.display()),
        None => "no containerd runs here".into(),
    })
}

impl Process {
    fn read(folder: &Path) -> Option<Process> {
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        if name.trim_end() != "containerd" {
            return None;
        }
        // Of another root are those in containers, where that can be seen.
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
        // `containerd config dump` is another thing.
        let is_daemon = !words.iter().skip(1).any(|word| word == "config" || word == "publish");
        (is_daemon && !words.is_empty()).then(|| Process { folder: folder.to_owned(), words })
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
mod tests {
    use super::*;

    fn process(words: &str, cgroup: &str) -> (tempfile::TempDir, Process) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("comm"), "containerd\n").expect("a file");
        fs::write(folder.path().join("cmdline"), words.replace(' ', "\0")).expect("a file");
        fs::write(folder.path().join("cgroup"), cgroup).expect("a file");
        let process = Process::read(folder.path()).expect("a daemon");
        (folder, process)
    }

    #[test]
    fn a_service_of_the_node_is_told_from_one_within_a_container() {
        let unit = |cgroup: &str| process("/usr/bin/containerd", cgroup).1.unit();
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
