//! `-info` and `-v`: what this program is and can do, asked with no container at hand.

use std::io::{IsTerminal, Read, Write};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use wherry_core::spec;

use crate::args::{Args, PROGRAM};
use crate::{native, options};

/// The type by which containerd's CRI finds the features (`core/introspection`, `pkg/oci`).
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// As much as containerd itself writes.
const MAX_STDIN: u64 = 10 << 20;

pub(crate) fn run() -> Result<(), String> {
    let given = given()?;
    let options = options::of(given.as_ref()).map_err(|denied| denied.sentence)?;
    let runc = native::features(&options.runc.binary_name);
    let features = match runc {
        Some(theirs) => spec::features_with(spec::features(), &theirs),
        None => spec::features(),
    };
    let features = features.to_string().into_bytes();
    let info = RuntimeInfo {
        name: "io.containerd.wherry.v1".into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            ..RuntimeVersion::default()
        })
        .into(),
        options: given.into(),
        features: Some(Any { type_url: FEATURES.into(), value: features, ..Any::default() }).into(),
        ..RuntimeInfo::default()
    };
    let bytes = info.write_to_bytes().map_err(|e| e.to_string())?;
    print(&bytes)
}

/// The options of the handler that containerd asks for; none when a person does.
fn given() -> Result<Option<Any>, String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let failed = |e: &dyn std::fmt::Display| format!("cannot read what containerd says: {e}");
    stdin.take(MAX_STDIN).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    let any = Any::parse_from_bytes(&bytes).map_err(|e| failed(&e))?;
    Ok(Some(any).filter(|any| !any.type_url.is_empty()))
}

/// In the lines that containerd's own shims print.
pub(crate) fn version(_args: &Args) -> Result<(), String> {
    print(format!("{PROGRAM}:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    std::io::stdout().write_all(bytes).map_err(|e| e.to_string())
}
