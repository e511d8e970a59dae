//! critest of cri-tools (`sigs.k8s.io/cri-tools`), the suite by which CRI runtimes are judged, run against a containerd
//! with our handler.
//!
//! [`images`] makes what it pulls, under the names it pulls it by; `rig/critest.sh` serves that, starts containerd and
//! runs the suite, each run in namespaces of its own; [`results`] reads its report; [`expected`] has the reason of
//! every case that does not pass, and [`document`] writes all of it down for people.

pub mod document;
pub mod expected;
pub mod images;
pub mod results;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command;
use crate::containerd::COMMAND;
use crate::foreign::Column;
use crate::rig::Version;

/// The image of the sandbox container, which no case pulls or removes.
pub const PAUSE: &str = "wherry.test/pause:1";

/// The versions that it runs on: the oldest and the newest.
pub const VERSIONS: [Version; 2] = [Version::V1_7, Version::V2_4];

/// The handler of a column.
pub fn handler(column: Column) -> &'static str {
    match column {
        Column::Runc => "runc",
        Column::Native | Column::Wasmbox => "wherry",
    }
}

/// containerd's configuration: both handlers, a network, and our registry in the place of all others.
pub fn config(version: Version, folder: &Path, plugins: &Path) -> String {
    let (format, images, runtime) = match version {
        Version::V1_7 => {
            let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
            (2, cri, cri)
        }
        Version::V2_1 | Version::V2_4 => (
            3,
            r#"plugins."io.containerd.cri.v1.images""#,
            r#"plugins."io.containerd.cri.v1.runtime""#,
        ),
    };
    let (pause, bin) = match version {
        Version::V1_7 => (
            format!("[{images}]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true"),
            format!("bin_dir = \"{}\"", plugins.display()),
        ),
        Version::V2_1 | Version::V2_4 => (
            format!(
                "[{images}.pinned_images]\nsandbox = \"{PAUSE}\"\n[{runtime}]\nrestrict_oom_score_adj = true"
            ),
            format!("bin_dirs = [\"{}\"]", plugins.display()),
        ),
    };
    let folder = folder.display();
    format!(
        r#"version = {format}
root = "{folder}/root"
# Where also the users of a user namespace come through.
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[debug]
level = "info"
{pause}
[{images}.registry]
config_path = "{folder}/certs.d"
[{runtime}.cni]
{bin}
conf_dir = "{folder}/net.d"
[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{runtime}.containerd.runtimes.wherry]
runtime_type = "io.containerd.wherry.v1"
base_runtime_spec = "{folder}/spec.json"
"#
    )
}

/// What containerd has for a container that says nothing, and an annotation: HTTP services are on nginx's port. By the
/// handler's options it could be said, too, but with options containerd starts no pod that has users of its own, unless
/// they are runc's (containerd 2.4.2, `client/task.go`, `getRuncOptions`).
pub fn base_spec(version: Version) -> Result<Value> {
    let mut ctr = Command::new(version.programs()?.join("ctr"));
    let told = command::run(ctr.args(["oci", "spec"]), b"", COMMAND)?.ok()?;
    let mut spec: Value = serde_json::from_str(&told.stdout).context("ctr oci spec")?;
    // CRI takes them out of containerd's own (`internal/cri/opts/spec_opts.go`).
    spec["process"]["rlimits"] = json!([]);
    spec["annotations"] = json!({ "wherry.dev/http.listen": "0.0.0.0:80" });
    Ok(spec)
}

/// The files beside the configuration: our registry as a mirror, and the network of pods.
pub fn files(folder: &Path) -> [(&'static str, String); 2] {
    let mirror = format!(
        "[host.\"https://127.0.0.1\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{}/registry.pem\"\n",
        folder.display()
    );
    let network = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [
        { "type": "ptp", "ipMasq": false, "ipam": {
            "type": "host-local", "ranges": [[{ "subnet": "10.92.0.0/24" }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        }},
        { "type": "portmap", "capabilities": { "portMappings": true }},
    ]});
    [("certs.d/_default/hosts.toml", mirror), ("net.d/10-pods.conflist", network.to_string())]
}
