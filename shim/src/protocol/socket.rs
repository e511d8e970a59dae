//! Where a shim listens: one socket for each pod, and finding it makes `start` idempotent.

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::ConnectRequest;
use containerd_shim_protos::shim_async::TaskClient;
use containerd_shim_protos::ttrpc::{self, asynchronous::Client, context::Context};
use rustix::fs::{FlockOperation, flock};

/// Annotations that name the pod, the most explicit first: containerd's own shim's, CRI's, CRI-O's.
const GROUPS: [&str; 3] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri-o.SandboxID",
];

/// What came of looking for the pod's socket.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody listened: we do now.
    Bound(UnixListener),
    /// The pod's shim is there.
    Alive,
}

/// The containers of one group share a shim: the pod's id, or the container's own.
///
/// A bundle without `config.json` (containerd's `shim` sandboxer) is its own group.
pub(crate) fn group(config: Option<&str>, id: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        annotations: std::collections::BTreeMap<String, String>,
    }
    let config: Option<Config> = config.and_then(|json| serde_json::from_str(json).ok());
    let annotations = config.map(|config| config.annotations).unwrap_or_default();
    let named = GROUPS.iter().find_map(|key| annotations.get(*key));
    named.filter(|group| !group.is_empty()).cloned().unwrap_or_else(|| id.to_owned())
}

/// The path in an address, which has a scheme or has none.
pub(crate) fn path(address: &str) -> PathBuf {
    address.strip_prefix("unix://").unwrap_or(address).into()
}

pub(crate) fn bind_or_find(path: &Path) -> io::Result<Found> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Twice: a socket whose shim is dead is taken away once.
    for last in [false, true] {
        match bind(path) {
            Ok(listener) => return Ok(Found::Bound(listener)),
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_alive(path) => {
                return Ok(Found::Alive);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && !last => remove_dead(path)?,
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// Removes a socket that nobody listens on; one that answers stays.
///
/// One at a time in its folder: between the looking and the removing of one `start`, another could have bound a new
/// socket there.
pub(crate) fn remove_dead(path: &Path) -> io::Result<()> {
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    flock(&folder, FlockOperation::LockExclusive)?;
    if is_alive(path) {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a shim answers. That it can be connected to proves nothing: the kernel closes a dying
/// process's files one after the other, and its listener may take connections when containerd has
/// already seen another one end.
fn is_alive(path: &Path) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return UnixStream::connect(path).is_ok();
    };
    runtime.block_on(async {
        let Ok(client) = Client::connect(&format!("unix://{}", path.display())).await else {
            return false;
        };
        let task = TaskClient::new(client);
        let request = ConnectRequest::new();
        match tokio::time::timeout(BUSY, task.connect(Context::default(), &request)).await {
            Ok(Ok(_) | Err(ttrpc::Error::RpcStatus(_))) => true,
            Ok(Err(_)) => false,
            // Too busy to answer is not dead: that would have closed the connection.
            Err(_) => true,
        }
    })
}

/// How long a shim may take to say that it is there.
const BUSY: Duration = Duration::from_secs(1);

fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_group() {
        let with =
            |annotations: &str| group(Some(&format!("{{\"annotations\":{annotations}}}")), "c1");
        assert_eq!(group(None, "c1"), "c1");
        assert_eq!(group(Some("no json"), "c1"), "c1");
        assert_eq!(with("{}"), "c1");
        assert_eq!(with(r#"{"io.kubernetes.cri.sandbox-id":"pod"}"#), "pod");
        assert_eq!(with(r#"{"io.kubernetes.cri-o.SandboxID":"pod"}"#), "pod");
        let both = r#"{"io.containerd.runc.v2.group":"g","io.kubernetes.cri.sandbox-id":"pod"}"#;
        assert_eq!(with(both), "g");
    }

    #[test]
    fn a_socket_is_bound_once_found_while_alive_and_taken_over_when_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/socket");
        let Found::Bound(first) = bind_or_find(&path).unwrap() else { panic!() };
        assert!(matches!(bind_or_find(&path).unwrap(), Found::Alive));
        drop(first);
        assert!(matches!(bind_or_find(&path).unwrap(), Found::Bound(_)));
    }

    #[test]
    fn of_all_who_find_a_dead_socket_one_binds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for _ in 0..4 {
            drop(bind(&path).unwrap());
            let found = std::thread::scope(|scope| {
                let starts = [(); 4].map(|()| scope.spawn(|| bind_or_find(&path).unwrap()));
                starts.map(|start| start.join().unwrap())
            });
            let bound = found.iter().filter(|found| matches!(found, Found::Bound(_))).count();
            assert_eq!(bound, 1);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
