//! `hostUsers: false`: root of a pod is nobody on the node.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use wherry_e2e::cri::{Mapping, Mount, Namespaces, POD, PodConfig, Users};
use wherry_e2e::suite::{Case, For};

use crate::daemon::Daemon;
use crate::pods::{PODSANDBOX, SHIM, namespaces};

pub(crate) const CASES: &[Case<Daemon>] = &[
    ("a_pod_has_users_of_its_own", For::Any, |d| users(d, PODSANDBOX)),
    ("shim_a_pod_has_users_of_its_own", For::Wherry, |d| users(d, SHIM)),
];

const HOST: u32 = 1_000_000;

fn ids() -> Vec<Mapping> {
    vec![Mapping { host: HOST, container: 0, length: 65_536 }]
}

fn config(daemon: &Daemon) -> PodConfig {
    let mut config = daemon.config("users-0");
    let users = Users { mode: POD, uids: ids(), gids: ids() };
    namespaces(&mut config, |namespaces: &mut Namespaces| namespaces.users = Some(users));
    config
}

fn users(daemon: &Daemon, handler: &'static str) -> Result<()> {
    let volume = daemon.containerd.place.path(&format!("volume-{handler}"));
    fs::create_dir_all(&volume)?;
    fs::write(volume.join("roots"), "of root\n")?;
    let mount = Mount {
        container_path: "/volume".to_string(),
        host_path: volume.display().to_string(),
        uids: ids(),
        gids: ids(),
    };
    let pod = daemon.pod(handler, config(daemon))?;
    let cri = daemon.cri();
    let tools = match daemon.containerd.runtime {
        wherry_e2e::rig::Runtime::Wherry => "wherry.test/toolbox:wasmbox",
        wherry_e2e::rig::Runtime::Runc => "wherry.test/toolbox:busybox",
    };
    for (image, name) in [(tools, "wasm"), ("wherry.test/toolbox:busybox", "native")] {
        let mut container = pod.container(image, &["sleep", "1000000"]);
        container.mounts = vec![mount.clone()];
        let container = pod.run(container)?;
        let pid = cri.pid(&container)?;
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map"))?;
        let map: Vec<&str> = map.split_whitespace().collect();
        ensure!(map == ["0", "1000000", "65536"], "{name}: {map:?}");
        ensure!(
            fs::metadata(format!("/proc/{pid}/root"))?.uid() == HOST,
            "{name}: the root is not mapped"
        );
        ensure!(cri.told(&container, &["cat", "/volume/roots"])? == "of root\n", "{name}");
        cri.told(&container, &["sh", "-c", &format!("echo mine > /volume/{name}")])?;
        // Whoever it is in the pod, on disk it is root's.
        ensure!(fs::metadata(volume.join(name))?.uid() == 0, "{name}: the volume is not mapped");
        ensure!(cri.told(&container, &["cat", "/etc/hostname"])? == "users-0\n");
        // Also the files of the pod are its root's.
        cri.told(&container, &["sh", "-c", "echo '# mine' >> /etc/hosts"])?;
    }
    pod.end()
}
