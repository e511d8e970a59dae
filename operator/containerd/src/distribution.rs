//! Whose node it is: who else writes the configuration, and when.

use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// An administrator's: packages, kubeadm, kind, minikube, AKS, Flatcar.
    Plain,
    /// Amazon Linux 2023 of EKS: `nodeadm` writes the main file at every boot.
    Eks,
    /// `config.toml` is written from a template at each start; the folder of both.
    K3s(PathBuf),
    Rke2(PathBuf),
    /// k0s merges what lies in `/etc/k0s/containerd.d` by itself, and takes it over without a restart of its service.
    K0s,
    /// The folder with `containerd-template.toml`.
    MicroK8s(PathBuf),
    /// Container-Optimized OS: no file of containerd's survives, and most of the disk is not executable.
    Cos,
    Talos,
    Bottlerocket,
}

/// What tells them apart.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The text of `/etc/os-release`.
    pub os_release: &'a str,
    /// The file that the running containerd was started with.
    pub main: &'a Path,
}

impl Distribution {
    pub fn of(seen: &Seen<'_>) -> Distribution {
        let folder = || seen.main.parent().unwrap_or(Path::new("/")).to_owned();
        let lies_in = |place: &str| seen.main.starts_with(place);
        let id = seen.os_release.lines().find_map(|line| line.strip_prefix("ID="));
        match id.map(|id| id.trim_matches(['"', '\''])) {
            Some("talos") => return Distribution::Talos,
            Some("bottlerocket") => return Distribution::Bottlerocket,
            Some("cos") => return Distribution::Cos,
            _ => {}
        }
        if lies_in("/var/lib/rancher/k3s") {
            Distribution::K3s(folder())
        } else if lies_in("/var/lib/rancher/rke2") {
            Distribution::Rke2(folder())
        } else if lies_in("/etc/k0s") || lies_in("/run/k0s") {
            Distribution::K0s
        } else if lies_in("/var/snap/microk8s") {
            Distribution::MicroK8s(folder())
        } else if id == Some("\"amzn\"") {
            Distribution::Eks
        } else {
            Distribution::Plain
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distribution::Plain => "plain",
            Distribution::Eks => "EKS",
            Distribution::K3s(_) => "k3s",
            Distribution::Rke2(_) => "RKE2",
            Distribution::K0s => "k0s",
            Distribution::MicroK8s(_) => "MicroK8s",
            Distribution::Cos => "Container-Optimized OS",
            Distribution::Talos => "Talos",
            Distribution::Bottlerocket => "Bottlerocket",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_file_and_the_system_tell() {
        let told = |id: &str, main: &str| {
            let os_release = format!("NAME=x\nID={id}\nVERSION_ID=1");
            Distribution::of(&Seen { os_release: &os_release, main: Path::new(main) }).to_string()
        };
        assert_eq!(told("debian", "/etc/containerd/config.toml"), "plain");
        assert_eq!(told("\"amzn\"", "/etc/containerd/config.toml"), "EKS");
        assert_eq!(told("ubuntu", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"), "k3s");
        assert_eq!(told("sles", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml"), "RKE2");
        assert_eq!(told("debian", "/etc/k0s/containerd.toml"), "k0s");
        assert_eq!(told("ubuntu", "/var/snap/microk8s/8511/args/containerd.toml"), "MicroK8s");
        assert_eq!(told("talos", "/etc/cri/containerd.toml"), "Talos");
        assert_eq!(told("bottlerocket", "/etc/containerd/config.toml"), "Bottlerocket");
        assert_eq!(told("cos", "/etc/containerd/config.toml"), "Container-Optimized OS");
    }
}
