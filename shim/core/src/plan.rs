//! The plan of one Wasm container: everything that is decided before anything is touched.
//!
//! A plan is made by [`crate::spec`] and carried out in three places, each with its own part:
//! the shim makes the [`Cgroup`] and runs the runtime's hooks, the guest process enters the
//! [`Sandbox`], and the engine performs the [`Run`]. Plans cross from the shim to the guest as
//! JSON, so every part is plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use oci_spec::runtime::{
    Hooks, LinuxDevice, LinuxDeviceCgroup, LinuxNamespaceType, LinuxResources, LinuxSeccomp,
};
use serde::{Deserialize, Serialize};

/// One Wasm container, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// containerd's id of the container.
    pub id: String,
    pub bundle: PathBuf,
    pub program: Program,
    pub sandbox: Sandbox,
    pub cgroup: Cgroup,
    pub run: Run,
    /// Hooks of all six points, run as the runtime spec's "Lifecycle" orders them.
    pub hooks: Hooks,
    /// The spec's annotations, for the state that hooks read.
    pub annotations: BTreeMap<String, String>,
    pub terminal: Option<Terminal>,
}

/// What `process.args[0]` names: the program, before anyone has looked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// As written, without the `#export` part: absolute, relative to `cwd`, or searched in `PATH`.
    pub name: String,
    /// The exported function to call instead of the command's entry point: `path#export`.
    pub export: Option<String>,
    /// The paths in the container to try, in order, all absolute.
    pub candidates: Vec<PathBuf>,
}

/// One more process in a container that runs: an exec, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    pub program: Program,
    pub sandbox: Sandbox,
    pub run: Run,
    pub terminal: Option<Terminal>,
}

/// A pty is wanted instead of pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    pub rows: u16,
    pub columns: u16,
}

/// How the process is confined. Carried out by the guest process itself, before it reads its code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The mounted root file system, absolute in the shim's mount namespace.
    pub rootfs: PathBuf,
    pub rootfs_readonly: bool,
    pub rootfs_propagation: Option<Propagation>,
    pub namespaces: Vec<Namespace>,
    /// Empty unless a new user namespace is made.
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
    pub mounts: Vec<Mount>,
    /// Device nodes to make: the runtime spec's default devices and `linux.devices`.
    pub devices: Vec<LinuxDevice>,
    pub masked_paths: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctl: BTreeMap<String, String>,
    pub rlimits: Vec<Rlimit>,
    pub user: User,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    /// The spec's own filter. Ours comes on top, and is the same for everyone.
    pub seccomp: Option<LinuxSeccomp>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub selinux_mount_label: Option<String>,
    pub oom_score_adj: Option<i32>,
    /// Absolute, made if it is missing.
    pub cwd: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub kind: LinuxNamespaceType,
    /// Join the namespace that this path names; `None` makes a new one.
    pub path: Option<PathBuf>,
}

/// `size` ids from `host` on appear as `container` and following.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

/// One mount, its option strings already read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute in the container.
    pub destination: PathBuf,
    pub what: MountWhat,
    /// Flags to set and to clear, as `mount(2)` spells them.
    pub flags: MountFlags,
    /// Attributes that hold for the whole tree below (`rro`, `rnosuid`, …: `mount_setattr(2)`).
    pub recursive: MountFlags,
    pub propagation: Option<(Propagation, Recursive)>,
    /// Options for the file system itself, comma-separated.
    pub data: String,
    /// Copy up what the destination holds in the image into the new tmpfs (`tmpcopyup`).
    pub copy_up: bool,
    /// Show other owners than the source has (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`).
    pub idmap: Option<IdMap>,
}

/// Which owners an id-mapped mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub ids: Ids,
    /// Also in what is mounted below the source (`ridmap`).
    pub recursive: Recursive,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// What belongs to `container` on disk appears as that of `host`.
    Mapped { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
    /// As the user namespace that this path names maps them.
    OfNamespace(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountWhat {
    /// A bind mount of a file or folder of the host.
    Bind { source: PathBuf, recursive: Recursive },
    /// A new file system of this type.
    Filesystem { kind: String, source: String },
    /// The container's own cgroups, of whichever version the node has.
    Cgroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recursive {
    Yes,
    No,
}

/// `mount(2)` flags: `set` are turned on, `clear` off, the rest stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountFlags {
    pub set: u64,
    pub clear: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// As the runtime spec names it, such as `RLIMIT_NOFILE`.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    pub umask: Option<u32>,
}

/// Capability sets, already cut down to those a WASI host can use. Names as in `capabilities(7)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub bounding: Vec<String>,
    pub effective: Vec<String>,
    pub permitted: Vec<String>,
    pub inheritable: Vec<String>,
    pub ambient: Vec<String>,
}

/// Where the container's processes are accounted, and what they may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    pub place: CgroupPlace,
    pub resources: Option<LinuxResources>,
    /// Nothing, then `resources.devices`, then what every container may use: applied in this order.
    pub devices: Vec<LinuxDeviceCgroup>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupPlace {
    /// Absolute below the root of the hierarchy.
    Path(PathBuf),
    /// `slice:prefix:name`: a transient scope of systemd's.
    Systemd { slice: String, prefix: String, name: String },
}

/// What the engine does with the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// As `process.args`, the first being the program's name.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// The initial directory: absolute in the container.
    pub cwd: String,
    /// Call this exported function rather than the entry point of a command.
    pub export: Option<String>,
    /// Folders the guest may open, in the order in which WASI lists them.
    pub preopens: Vec<Preopen>,
    /// Where HTTP services listen.
    pub http_listen: SocketAddr,
    /// Threads for HTTP services: the CPU limit, rounded up; the node's processors without one.
    pub threads: Option<NonZeroU16>,
    /// Bytes of memory of the container's cgroup.
    pub memory_limit: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Absolute in the container, for the host and for the guest alike.
    pub path: String,
    /// Its own mount is. Whether WASI's rights may say so is for the sandbox to see: mounts in it can be writable.
    pub read_only: bool,
}

/// How code was compiled. One of these per program, chosen by what the program is.
///
/// Services interrupt guests at epochs, so that one request cannot hold a thread for ever.
/// A command has its process for itself and pays nothing: a signal ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    Command,
    Service,
}
