//! Which containerd is the kubelet's, where several are services of the node, as beside Docker's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use wherry_containerd::{Distribution, Seen};

use super::process::Process;

/// Of a `KubeletConfiguration`, and of the files that are merged into it, what is of interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    container_runtime_endpoint: Option<String>,
}

/// Where a kubelet finds its runtime: what its flag says, or its files, the last of which wins, or nobody (Kubernetes,
/// `cmd/kubelet/app/options` and `pkg/kubelet/apis/config/v1beta1/defaults.go`).
///
/// # Errors
/// A file of its own that can't be read.
pub(super) fn endpoint(kubelet: &Process) -> Result<PathBuf> {
    const DEFAULT: &str = "/run/containerd/containerd.sock";
    let told = match kubelet.flag(&["--container-runtime-endpoint"]) {
        Some(told) => Some(told.display().to_string()),
        None => of_files(&files(kubelet))?,
    };
    let told = told.filter(|told| !told.is_empty());
    let path = told.as_deref().map_or(DEFAULT, |told| told.trim_start_matches("unix://"));
    Ok(path.into())
}

fn files(kubelet: &Process) -> Vec<PathBuf> {
    let folder = kubelet.flag(&["--config-dir"]);
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut more: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "conf")).collect();
    more.sort();
    kubelet.flag(&["--config"]).into_iter().chain(more).collect()
}

fn of_files(files: &[PathBuf]) -> Result<Option<String>> {
    let mut last = None;
    for path in files {
        let told = || format!("can't read the kubelet's {}", path.display());
        let text = fs::read_to_string(path).with_context(told)?;
        let found: Configuration = serde_saphyr::from_str(&text).with_context(told)?;
        last = found.container_runtime_endpoint.or(last);
    }
    Ok(last)
}

/// The one that listens there; or, where the kubelet is no process of its own, the one of that distribution.
pub(super) fn of(all: &[Process], endpoint: Option<&Path>) -> Option<usize> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_meant = |one: &Process| match endpoint {
        Some(endpoint) => one.address().is_ok_and(|address| real(&address) == real(endpoint)),
        None => one.main().is_some_and(|main| {
            let found = Distribution::of(&Seen { os_release: "", main: &main });
            found != Distribution::Plain
        }),
    };
    let mut meant = all.iter().enumerate().filter(|(_, one)| is_meant(one)).map(|(at, _)| at);
    let first = meant.next();
    first.filter(|_| meant.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::process::tests::process;

    fn meant(all: &[&str], endpoint: Option<&str>) -> Option<usize> {
        let all = all.iter().map(|words| process("containerd", words, "").1).collect::<Vec<_>>();
        of(&all, endpoint.map(Path::new))
    }

    #[test]
    fn the_one_at_the_kubelets_endpoint_is_meant() {
        let all = ["/usr/bin/containerd -a /run/a.sock", "/x/containerd --address=/run/b.sock"];
        assert_eq!(meant(&all, Some("/run/b.sock")), Some(1));
        assert_eq!(meant(&all, Some("/run/c.sock")), None);
        assert_eq!(meant(&all, None), None);
    }

    #[test]
    fn a_kubelet_within_k3s_talks_to_that_of_k3s() {
        let docker = "/usr/bin/containerd -a /run/containerd/containerd.sock";
        let k3s =
            "containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml -a /run/k3s/a";
        assert_eq!(meant(&[docker, k3s], None), Some(1));
        assert_eq!(meant(&[k3s, k3s], None), None);
    }

    #[test]
    fn a_kubelet_tells_its_endpoint_by_flag_or_file_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let told = |words: &str| {
            endpoint(&process("kubelet", words, "").1).map(|path| path.display().to_string())
        };
        let usual = "/run/containerd/containerd.sock";
        assert_eq!(told("/usr/bin/kubelet").expect("a default"), usual);
        let text = "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: \"unix:///run/b.sock\"\n";
        let file = write("config.yaml", text);
        assert_eq!(told(&format!("kubelet --config={file}")).expect("its file"), "/run/b.sock");
        let flag = "--container-runtime-endpoint=unix:///run/c.sock";
        assert_eq!(
            told(&format!("kubelet --config {file} {flag}")).expect("its flag"),
            "/run/c.sock"
        );
        write("10-a.conf", "containerRuntimeEndpoint: /run/d.sock");
        write("20-b.conf", "maxPods: 3");
        let more = format!("kubelet --config={file} --config-dir={}", folder.path().display());
        assert_eq!(told(&more).expect("more files"), "/run/d.sock");
        assert_eq!(
            told(&format!("kubelet --config={}", write("none.yaml", ""))).expect("nothing"),
            usual
        );
        assert!(told("kubelet --config=/none").is_err());
    }
}
