//! `-info` and `-v`: what this program is and can do, asked with no container at hand.

use std::io::Write;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use crate::args::{Args, PROGRAM};

/// The type by which containerd's CRI finds the features (`core/introspection`, `pkg/oci`).
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(crate) fn run() -> Result<(), String> {
    let features = wherry_core::spec::features().to_string().into_bytes();
    let info = RuntimeInfo {
        name: "io.containerd.wherry.v1".into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            ..RuntimeVersion::default()
        })
        .into(),
        features: Some(Any { type_url: FEATURES.into(), value: features, ..Any::default() }).into(),
        ..RuntimeInfo::default()
    };
    let bytes = info.write_to_bytes().map_err(|e| e.to_string())?;
    print(&bytes)
}

/// In the lines that containerd's own shims print.
pub(crate) fn version(_args: &Args) -> Result<(), String> {
    print(format!("{PROGRAM}:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    std::io::stdout().write_all(bytes).map_err(|e| e.to_string())
}
