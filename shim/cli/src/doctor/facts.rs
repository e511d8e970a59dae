//! What was seen on the node, as plain values. Nothing here is judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::containerd::{Config, Handler};

#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Of this program.
    pub(super) version: String,
    pub(super) kernel: Kernel,
    pub(super) cgroups: Cgroups,
    pub(super) containerd: Search,
    /// By handler; the empty name is what is found without one, by the runtime's name on containerd's `PATH`.
    pub(super) installed: BTreeMap<String, Installed>,
    pub(super) runc: Option<PathBuf>,
    pub(super) caches: Vec<Cache>,
    pub(super) leftovers: Leftovers,
}

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// As uname(2) tells it: `6.1.0-18-amd64`.
    pub(super) release: String,
    /// The version of Landlock, 0 without.
    pub(super) landlock: i64,
    /// What a seccomp filter may say; empty without seccomp.
    pub(super) seccomp: Vec<String>,
    /// How many user namespaces there may be; none if the kernel has no such thing.
    pub(super) user_namespaces: Option<u64>,
    pub(super) overlayfs: Overlayfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlayfs {
    Ready,
    /// A module that is loaded when it is wanted.
    Loadable,
    Missing,
}

#[derive(Clone, Debug)]
pub(super) enum Cgroups {
    /// With these controllers.
    V2(Vec<String>),
    V1(Vec<String>),
    /// Version 1 with the controllers, and systemd's own hierarchy of version 2 beside it.
    Hybrid(Vec<String>),
    Unknown(String),
}

/// What came of looking for the containerd that runs here.
#[derive(Clone, Debug)]
pub(super) enum Search {
    Found(Box<Containerd>),
    /// None with this address, or none at all.
    None {
        wanted: Option<PathBuf>,
    },
    /// Which of these is meant?
    Several(Vec<PathBuf>),
}

#[derive(Clone, Debug)]
pub(super) struct Containerd {
    /// None if only its files were looked at.
    pub(super) pid: Option<i32>,
    pub(super) program: PathBuf,
    /// The program has been replaced since the daemon started.
    pub(super) replaced: bool,
    /// Its gRPC socket.
    pub(super) address: PathBuf,
    /// As `containerd --version` tells it.
    pub(super) version: String,
    /// The main one.
    pub(super) config_file: PathBuf,
    /// The file that has the CRI section: the last of those that are read, or the main one.
    pub(super) section_file: PathBuf,
    /// Handlers are named there. Those that are not are defaults, which in 1.x the first that is named replaces.
    pub(super) names_handlers: bool,
    /// What the main file imports, as it is written there. What the dump says is no answer: from 2.2 on it names
    /// `conf.d`, and nothing in it is read unless the file names it, too (tried on 2.4.2).
    pub(super) imports: Vec<String>,
    /// The version that the main file is written in; none if there is no such file.
    pub(super) file_version: Option<i64>,
    /// What `containerd config dump` makes of the files, or why it makes nothing.
    pub(super) config: Result<Config, String>,
    /// What it complained of meanwhile.
    pub(super) complaints: Vec<String>,
    /// Files of the configuration that changed after the daemon started.
    pub(super) changed: Vec<PathBuf>,
    /// Where it looks for shims.
    pub(super) path: Vec<PathBuf>,
    pub(super) answers: Answers,
}

/// What the daemon itself says.
#[derive(Clone, Debug)]
pub(super) enum Answers {
    NotAsked,
    Nothing(String),
    /// It is there, without a CRI plugin that would answer.
    NoCri(String),
    Cri(CriStatus),
}

#[derive(Clone, Debug, Default)]
pub(super) struct CriStatus {
    pub(super) ready: bool,
    /// Why not.
    pub(super) reason: String,
    /// The handlers that it has loaded.
    pub(super) handlers: BTreeMap<String, Handler>,
}

/// A shim, and what lies beside it.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Where containerd finds it; none if it does not.
    pub(super) shim: Option<PathBuf>,
    /// Each with what it says of itself.
    pub(super) programs: Vec<(String, Program)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Missing,
    /// It is there, and cannot be used: why.
    Unusable(String),
    Version(String),
}

#[derive(Clone, Debug)]
pub(super) struct Cache {
    pub(super) dir: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) state: CacheState,
    /// Of the file system that it is on, or will be; none if that can't be told.
    pub(super) room: Option<Room>,
}

/// What statvfs(3) tells of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) read_only: bool,
    /// None where there is no limit.
    pub(super) bytes: Option<u64>,
    /// How many files and folders more there may be; none where they are not counted.
    pub(super) inodes: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum CacheState {
    /// Nothing was compiled yet.
    Absent,
    Unusable(String),
    Seen {
        entries: usize,
        bytes: u64,
        damaged: Vec<String>,
    },
}

/// What should have gone with its container.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    /// Bundles whose shim is dead: namespace and id.
    pub(super) bundles: Vec<(String, String)>,
    /// Shims that no bundle names: pid and id.
    pub(super) shims: Vec<(i32, String)>,
    /// Processes of containers without a shim: pid and name.
    pub(super) processes: Vec<(i32, String)>,
    pub(super) mounts: Vec<PathBuf>,
    pub(super) cgroups: Vec<PathBuf>,
    /// Sockets of our shims that nobody listens on: bundles of ours name them.
    pub(super) sockets: Vec<PathBuf>,
    /// Others of that kind, of whichever runtime: the name is a hash of what nobody remembers any more.
    pub(super) unknown_sockets: Vec<PathBuf>,
}
