//! `wherry ps`: the shims of this node, and what runs under each.
//!
//! [`look`] reads `/proc` and the bundles, [`table`] makes of that what people read. The JSON is the listing itself:
//! fields are added to it, and none is taken away or changes its meaning.

mod look;
mod table;

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use wherry_core::plan::Profile;

use crate::args::Ps;
use crate::{cache, node, print};

pub(crate) fn run(what: &Ps) -> anyhow::Result<()> {
    node::may_look("ps")?;
    let listing = look::listing(what)?;
    if what.json {
        let json = serde_json::to_string(&listing).context("can't write JSON")?;
        return print(&format!("{json}\n"));
    }
    print(&table::text(&listing, cache::seconds(std::time::SystemTime::now())))
}

#[derive(Debug, Serialize)]
struct Listing {
    shims: Vec<Shim>,
}

/// One for each pod, or for each container that is in none.
#[derive(Debug, Serialize)]
struct Shim {
    #[serde(flatten)]
    process: Process,
    /// containerd's namespace: `k8s.io`, `moby`, `default`.
    namespace: String,
    /// The pod's sandbox, or the one container.
    id: String,
    /// The socket of the containerd that it belongs to.
    containerd: PathBuf,
    program: PathBuf,
    /// Its program has been replaced since it began, by an upgrade. New pods get the new one.
    replaced: bool,
    containers: Vec<Container>,
}

#[derive(Debug, Serialize)]
struct Container {
    id: String,
    role: Role,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod>,
    /// Its name in the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    args: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<Module>,
    execs: Vec<Exec>,
}

#[derive(Debug, Serialize)]
struct Exec {
    #[serde(flatten)]
    process: Process,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<Module>,
}

#[derive(Clone, Debug, Serialize)]
struct Pod {
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Clone, Debug, Serialize)]
struct Process {
    pid: u32,
    /// What it holds, shared pages counted in parts (PSS); of a native container all its processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    threads: u64,
    /// Seconds since the epoch.
    started: u64,
}

/// The compiled code that a guest runs.
#[derive(Clone, Debug, Serialize)]
struct Module {
    /// Of the WebAssembly.
    digest: String,
    engine: String,
    /// Guests on this node that share its code, this one too. Requests of an HTTP service have each an instance of
    /// their own for as long as they take, inside of one guest: those are not counted.
    instances: usize,
}

/// What a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Holds the namespaces of its pod.
    Sandbox,
    /// A Wasm program that runs to its end.
    Command,
    /// A Wasm program that answers HTTP.
    Service,
    /// A Wasm program whose kind is not known: no longer, or not yet.
    Guest,
    /// An ordinary program, by runc.
    Native,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Its program is being found, compiled or loaded.
    Creating,
    /// Its process is there. It may wait to be started, or be paused.
    Alive,
    /// Its process has ended, and containerd has not deleted it.
    Stopped,
}

impl From<Profile> for Role {
    fn from(profile: Profile) -> Role {
        match profile {
            Profile::Command => Role::Command,
            Profile::Service => Role::Service,
        }
    }
}
