//! What containerd's Sandbox API asks for: the namespaces and files of a pod, with no container that stands for them.
//!
//! With its `podsandbox` controller containerd makes the files itself and describes a container in `config.json`
//! (containerd 2.4, `internal/cri/server/podsandbox/sandbox_run_linux.go`, from which everything here is taken); with
//! its `shim` controller it hands over the pod's description and leaves all of that to the shim.
//!
//! What the description says of the sandbox's own process (its user, seccomp, AppArmor, SELinux, privileges) has
//! nobody to be for: the pod's containers have all of it in their own specs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType as Kind;
use serde_json::{Value, json};

use super::{Refusal, invalid, namespaces, no_nul};
use crate::plan::{IdMapping, Namespace};

/// CRI's `PodSandboxConfig`, as far as it is about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub hostname: String,
    /// None: as the node.
    pub dns: Option<Dns>,
    pub cgroup_parent: String,
    pub network: Scope,
    pub pid: Scope,
    pub ipc: Scope,
    /// The user namespace of the pod, unless it is the node's.
    pub users: Option<Users>,
    pub sysctl: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// For whom there is one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Pod,
    Container,
    Node,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

/// The sandbox of a pod, decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub files: Vec<(&'static str, Content)>,
    /// A `/dev/shm` for all its containers, of this many bytes; none where they have the node's.
    pub shm: Option<u64>,
    pub holder: Holder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// The name of the node, as a line.
    NodeName,
    OfNode(&'static str),
}

/// Who is in the pod's namespaces, so that containers find them in `/proc`.
#[derive(Clone, Debug, PartialEq)]
pub enum Holder {
    /// A thread of the shim.
    Thread(Thread),
    /// A process, which this spec describes: the first of a pid namespace, or of a user namespace, can be no thread
    /// of a process outside of it (unshare(2), setns(2)).
    Process(Value),
}

/// What a thread can be in without its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub namespaces: Vec<Namespace>,
    pub hostname: Option<String>,
    pub sysctl: BTreeMap<String, String>,
}

/// As large as containerd makes it for a pod (`defaultShmSize`).
const SHM_BYTES: u64 = 64 << 20;

/// The names of a pod's files in its folder, and where its containers have them.
const FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

/// The pod's files, by their names in its folder.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Where the shared memory is mounted, in the folder: containerd unmounts this whatever becomes of the shim
/// (`core/runtime/v2/bundle.go`, `Delete`).
pub const SHM: &str = "rootfs";

/// The root of the process that holds the namespaces, in the folder.
pub const ROOT: &str = "pause";

/// `netns` is the network namespace that containerd has made, `userns` the one that this belongs to.
pub fn pod(
    id: &str,
    config: &Config,
    netns: Option<&Path>,
    userns: Option<&Path>,
) -> Result<Pod, Refusal> {
    let namespaces = shared(config, netns)?;
    no_nul("hostname", &config.hostname)?;
    let hostname = Some(config.hostname.clone());
    let hostname = namespaces::host_name("hostname", &hostname, &namespaces)?;
    let sysctl = sysctl(config, &namespaces)?;
    let holder = match config.pid == Scope::Pod || config.users.is_some() {
        false => Holder::Thread(Thread { namespaces, hostname, sysctl }),
        true => {
            Holder::Process(process(id, config, namespaces, userns, hostname.as_deref(), &sysctl))
        }
    };
    Ok(Pod { files: files(config), shm: (config.ipc != Scope::Node).then_some(SHM_BYTES), holder })
}

/// Without the node's network there is a host name of its own, too.
fn shared(config: &Config, netns: Option<&Path>) -> Result<Vec<Namespace>, Refusal> {
    let mut namespaces = Vec::new();
    if config.network != Scope::Node {
        let Some(path) = netns.filter(|path| path.is_absolute()) else {
            return Err(invalid(
                "netns_path",
                "is empty, and the pod is not to have the network of the node",
            ));
        };
        namespaces.push(Namespace { kind: Kind::Network, path: Some(path.to_owned()) });
        namespaces.push(Namespace { kind: Kind::Uts, path: None });
    }
    if config.ipc != Scope::Node {
        namespaces.push(Namespace { kind: Kind::Ipc, path: None });
    }
    Ok(namespaces)
}

/// What a pod asks for, and what containerd gives to each by default (`enable_unprivileged_ports` and
/// `enable_unprivileged_icmp`, of which it tells the shim nothing).
fn sysctl(config: &Config, namespaces: &[Namespace]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut sysctl = namespaces::checked_sysctl(&config.sysctl, namespaces)?;
    if config.network != Scope::Node {
        let mut by_default = |key: &str, value: &str| {
            sysctl.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        };
        by_default("net.ipv4.ip_unprivileged_port_start", "0");
        if config.users.is_none() {
            by_default("net.ipv4.ping_group_range", "0 2147483647");
        }
    }
    Ok(sysctl)
}

fn files(config: &Config) -> Vec<(&'static str, Content)> {
    let hostname = match config.hostname.as_str() {
        "" => Content::NodeName,
        name => Content::Text(format!("{name}\n")),
    };
    let resolv = config.dns.as_ref().map_or(Content::OfNode("/etc/resolv.conf"), |dns| {
        let line = |name: &str, words: &[String]| match words {
            [] => String::new(),
            words => format!("{name} {}\n", words.join(" ")),
        };
        let servers = dns.servers.iter().map(|server| format!("nameserver {server}\n"));
        Content::Text(format!(
            "{}{}{}",
            line("search", &dns.searches),
            servers.collect::<String>(),
            line("options", &dns.options)
        ))
    });
    vec![("hostname", hostname), ("hosts", Content::OfNode("/etc/hosts")), ("resolv.conf", resolv)]
}

/// The container that containerd would have described, for our own pause program.
fn process(
    id: &str,
    config: &Config,
    mut namespaces: Vec<Namespace>,
    userns: Option<&Path>,
    hostname: Option<&str>,
    sysctl: &BTreeMap<String, String>,
) -> Value {
    namespaces.push(Namespace { kind: Kind::Mount, path: None });
    if config.pid != Scope::Node {
        namespaces.push(Namespace { kind: Kind::Pid, path: None });
    }
    if config.users.is_some() {
        namespaces.push(Namespace { kind: Kind::User, path: userns.map(Path::to_owned) });
    }
    let namespaces: Vec<_> = namespaces
        .iter()
        .map(|one| match &one.path {
            Some(path) => json!({ "type": one.kind, "path": path }),
            None => json!({ "type": one.kind }),
        })
        .collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "sysctl": sysctl,
        // As little as there can be (`WithDefaultSandboxShares`).
        "resources": { "cpu": { "shares": 2 } },
    });
    if !config.cgroup_parent.is_empty() {
        linux["cgroupsPath"] = json!(cgroup(&config.cgroup_parent, id));
    }
    if let Some(users) = &config.users {
        let mapped = |ids: &[IdMapping]| -> Vec<Value> {
            let one = |m: &IdMapping| json!({ "containerID": m.container, "hostID": m.host, "size": m.size });
            ids.iter().map(one).collect()
        };
        linux["uidMappings"] = json!(mapped(&users.uids));
        linux["gidMappings"] = json!(mapped(&users.gids));
    }
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": ["/pause"],
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "noNewPrivileges": true,
        },
        "root": { "path": ROOT, "readonly": true },
        "hostname": hostname.unwrap_or_default(),
        "mounts": [],
        "linux": linux,
        "annotations": { (super::lookup::KINDS[0]): "sandbox", (SANDBOX): id },
    })
}

/// `getCgroupsPath` of containerd: a slice is systemd's.
fn cgroup(parent: &str, id: &str) -> String {
    let name = parent.rsplit('/').next().unwrap_or(parent);
    match name.ends_with(".slice") {
        true => format!("{name}:cri-containerd:{id}"),
        false => format!("{}/{id}", parent.trim_end_matches('/')),
    }
}

const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// What a pod has for its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub id: String,
    /// With its files, and its shared memory at [`SHM`].
    pub folder: PathBuf,
    pub shm: bool,
}

/// Gives a container of the pod what containerd would have given it: the mounts of the pod's files, where it has none
/// there, and the pod's shared memory instead of its own. `None` where nothing changes.
///
/// `internal/cri/server/container_create.go`, `linuxContainerMounts`, leaves out what it does not find, because
/// "it could be delegated to remote sandbox controller".
pub fn complete(json: &str, pod: &Shared) -> Result<Option<String>, Refusal> {
    let mut spec: Value = serde_json::from_str(json)
        .map_err(|e| invalid("config.json", format!("can't be read: {e}")))?;
    if spec["annotations"][SANDBOX] != *pod.id {
        return Ok(None);
    }
    let access = if spec["root"]["readonly"] == true { "ro" } else { "rw" };
    let ids =
        spec["linux"].get("uidMappings").cloned().zip(spec["linux"].get("gidMappings").cloned());
    let mounts = match &mut spec["mounts"] {
        Value::Array(mounts) => mounts,
        none @ Value::Null => {
            *none = json!([]);
            none.as_array_mut().ok_or_else(|| invalid("mounts", "is no list"))?
        }
        _ => return Err(invalid("mounts", "is no list")),
    };
    let before = mounts.clone();
    for (file, destination) in FILES {
        if mounts.iter().any(|mount| is_at(mount, destination)) {
            continue;
        }
        let mut mount = bind(pod.folder.join(file), destination, &["rbind", "rprivate", access]);
        if let Some((uids, gids)) = &ids {
            (mount["uidMappings"], mount["gidMappings"]) = (uids.clone(), gids.clone());
        }
        mounts.push(mount);
    }
    let own_shm = |mount: &&mut Value| is_at(mount, "/dev/shm") && mount["type"] == "tmpfs";
    if let Some(mount) = mounts.iter_mut().find(own_shm).filter(|_| pod.shm) {
        *mount = bind(pod.folder.join(SHM), "/dev/shm", &["rbind", "rprivate", "rw"]);
    }
    Ok((*mounts != before).then(|| spec.to_string()))
}

fn is_at(mount: &Value, destination: &str) -> bool {
    let at = mount["destination"].as_str().map(|path| super::mounts::clean(Path::new(path)));
    at.as_deref() == Some(Path::new(destination))
}

fn bind(source: PathBuf, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}
