//! What containerd passes to `start`, in which of its two dialects, and the answer in the same.
//!
//! Until 2.2 there are flags, environment and perhaps the runtime's options (an `Any`) on stdin;
//! from 2.3 on there is a `BootstrapParams` message on stdin. An `Any` also parses as such a
//! message (type URL as id, value as namespace), so that only one with our own id and namespace
//! counts (containerd 2.3 `pkg/shim/bootstrap.go` does the same).
//!
//! `containerd-shim` reads both, but always answers version 3, which containerd 1.7 refuses.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use crate::args::Args;

/// The Task service we answer for. All containerds from 1.7 speak version 2.
const VERSION: i32 = 2;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bootstrap {
    pub(crate) dialect: Dialect,
    /// containerd's ttrpc socket, for events.
    pub(crate) ttrpc_address: String,
    pub(crate) grpc_address: String,
    /// Where containerd wants our socket.
    pub(crate) socket_dir: Option<String>,
    pub(crate) debug: bool,
    pub(crate) options: Option<Any>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Answered in JSON.
    Flags,
    /// Answered in protobuf.
    Params,
}

pub(crate) fn read(args: &Args, stdin: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Bootstrap {
    let ours = |p: &BootstrapParams| p.instance_id == args.id && p.namespace == args.namespace;
    match BootstrapParams::parse_from_bytes(stdin).ok().filter(ours) {
        Some(params) => Bootstrap {
            dialect: Dialect::Params,
            ttrpc_address: params.containerd_ttrpc_address,
            grpc_address: non_empty(params.containerd_grpc_address)
                .unwrap_or_else(|| args.address.clone()),
            socket_dir: params.socket_dir.and_then(non_empty),
            debug: args.debug || params.log_level.value() < 0,
            options: params.extensions.into_iter().find_map(|e| e.value.into_option()),
        },
        None => Bootstrap {
            dialect: Dialect::Flags,
            ttrpc_address: env("TTRPC_ADDRESS").unwrap_or_default(),
            grpc_address: non_empty(args.address.clone())
                .or_else(|| env("GRPC_ADDRESS"))
                .unwrap_or_default(),
            socket_dir: None,
            debug: args.debug,
            options: Any::parse_from_bytes(stdin).ok().filter(|any| !any.type_url.is_empty()),
        },
    }
}

pub(crate) fn answer(dialect: Dialect, address: &str) -> Vec<u8> {
    let protocol = "ttrpc";
    match dialect {
        Dialect::Flags => serde_json::json!({
            "version": VERSION,
            "address": address,
            "protocol": protocol,
        })
        .to_string()
        .into_bytes(),
        Dialect::Params => {
            let result = BootstrapResult {
                version: VERSION,
                address: address.to_owned(),
                protocol: protocol.to_owned(),
                ..BootstrapResult::default()
            };
            // A message of three plain fields does not fail to encode.
            result.write_to_bytes().unwrap_or_default()
        }
    }
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stdin: &[u8]) -> Bootstrap {
        let args = Args {
            id: "c1".into(),
            namespace: "default".into(),
            address: "/flag.sock".into(),
            ..Args::default()
        };
        read(&args, stdin, &|key| (key == "TTRPC_ADDRESS").then(|| "/env.ttrpc".to_owned()))
    }

    fn options() -> Any {
        Any { type_url: "t".into(), value: b"default".to_vec(), ..Any::default() }
    }

    #[test]
    fn each_dialect_is_told_from_the_other() {
        let empty = check(b"");
        assert_eq!((empty.dialect, empty.options.is_some()), (Dialect::Flags, false));
        assert_eq!(
            (empty.ttrpc_address.as_str(), empty.grpc_address.as_str()),
            ("/env.ttrpc", "/flag.sock")
        );
        let legacy = check(&options().write_to_bytes().unwrap());
        assert_eq!((legacy.dialect, legacy.options), (Dialect::Flags, Some(options())));
        let mut params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "default".into(),
            containerd_ttrpc_address: "/params.ttrpc".into(),
            socket_dir: Some("/run/s".into()),
            ..BootstrapParams::default()
        };
        params.extensions.push(containerd_shim_protos::bootstrap_api::Extension {
            value: Some(options()).into(),
            ..Default::default()
        });
        let new = check(&params.write_to_bytes().unwrap());
        assert_eq!((new.dialect, new.ttrpc_address.as_str()), (Dialect::Params, "/params.ttrpc"));
        assert_eq!((new.socket_dir.as_deref(), new.options), (Some("/run/s"), Some(options())));
        assert_eq!(check(b"\xff\xff garbage").dialect, Dialect::Flags);
    }

    #[test]
    fn the_answer_is_in_the_callers_dialect_and_of_version_2() {
        let json = answer(Dialect::Flags, "unix:///s");
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"version": 2, "address": "unix:///s", "protocol": "ttrpc"})
        );
        let result =
            BootstrapResult::parse_from_bytes(&answer(Dialect::Params, "unix:///s")).unwrap();
        assert_eq!((result.version, result.address.as_str()), (2, "unix:///s"));
    }
}
