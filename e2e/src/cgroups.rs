//! Who makes the cgroups of containers, and where they are then: by itself a runtime makes folders; where
//! systemd runs the node, kubelet and Docker have it ask systemd for a scope.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;

use crate::rig::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Cgroupfs,
    Systemd,
}

/// The type of the options of containerd's own shim.
pub const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";

impl Driver {
    /// The one that `WHERRY_CGROUPS` names.
    pub fn chosen() -> Result<Driver> {
        match env::var("WHERRY_CGROUPS").as_deref() {
            Ok("systemd") => Ok(Driver::Systemd),
            Ok("cgroupfs") | Err(_) => Ok(Driver::Cgroupfs),
            Ok(other) => bail!("WHERRY_CGROUPS={other} is none of cgroupfs and systemd"),
        }
    }

    /// `linux.cgroupsPath`, in the form of kubelet and Docker with this driver.
    pub fn path(self, tag: &str, id: &str) -> String {
        match self {
            Driver::Cgroupfs => format!("/{tag}/{id}"),
            Driver::Systemd => format!("{tag}.slice:cri-containerd:{id}"),
        }
    }

    /// What this path is below the root of a hierarchy; a slice lies in those that its name begins with
    /// (systemd.slice(5)).
    pub fn folder(self, tag: &str, id: &str) -> PathBuf {
        let Driver::Systemd = self else { return [tag, id].iter().collect() };
        let ends = tag.match_indices('-').map(|(at, _)| at).chain([tag.len()]);
        let slices = ends.map(|end| format!("{}.slice", &tag[..end]));
        slices.chain([format!("cri-containerd-{id}.scope")]).collect()
    }

    /// What a runtime has to be told beside the path, as [`RUNC_OPTIONS`]; ours tells it by the path.
    pub fn options(self, runtime: Runtime) -> Option<Vec<u8>> {
        let options = Options { systemd_cgroup: true, ..Options::default() };
        (self == Driver::Systemd && runtime == Runtime::Runc)
            .then(|| options.write_to_bytes().expect("a message of one flag can be written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_those_it_is_named_after() {
        let folder = Driver::Systemd.folder("e2e-7", "c1");
        assert_eq!(folder.to_str(), Some("e2e.slice/e2e-7.slice/cri-containerd-c1.scope"));
    }
}
