//! The listing, out of `/proc` and the bundles.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::MMapPath;
use serde::Deserialize;
use wherry_core::plan::Profile;

use super::{Container, Exec, Listing, Module, Pod, Process, Role, Shim, State};
use crate::args::Ps;
use crate::node::{self, bundle::Bundle, shim};

/// The process of a Wasm container, whatever it runs.
const GUEST: &str = "wherry-guest";

pub(super) fn listing(what: &Ps) -> anyhow::Result<Listing> {
    let processes = node::processes()?;
    let mut children: HashMap<i32, Vec<u32>> = HashMap::new();
    for process in &processes {
        let pid = u32::try_from(process.pid).unwrap_or(0);
        children.entry(process.stat.ppid).or_default().push(pid);
    }
    let asked = |shim: &shim::Shim| {
        what.namespace.as_ref().is_none_or(|name| *name == shim.namespace)
            && what.address.as_ref().is_none_or(|address| *address == shim.containerd)
    };
    let shims = shim::among(processes).into_iter().filter(asked);
    let mut shims: Vec<Shim> = shims
        .map(|one| look_at(&one, children.get(&one.process.pid).map_or(&[], Vec::as_slice)))
        .collect();
    shims.sort_by(|a, b| (&a.namespace, &a.id).cmp(&(&b.namespace, &b.id)));
    count_instances(&mut shims);
    Ok(Listing { shims })
}

fn look_at(shim: &shim::Shim, children: &[u32]) -> Shim {
    let (program, replaced) = shim.process.program().unwrap_or_default();
    let mut containers: Vec<(Container, Option<node::Process>)> =
        shim.bundles().iter().map(|bundle| container(shim, bundle)).collect();
    for child in children.iter().filter_map(|pid| node::Process::of(*pid)) {
        add_exec(shim, &mut containers, child);
    }
    let mut containers: Vec<Container> = containers.into_iter().map(|(one, _)| one).collect();
    containers
        .sort_by_key(|one| (one.role != Role::Sandbox, one.process.as_ref().map(|p| p.started)));
    Shim {
        process: told(&shim.process),
        namespace: shim.namespace.clone(),
        id: shim.id.clone(),
        containerd: shim.containerd.clone(),
        program,
        replaced,
        containers,
    }
}

fn container(shim: &shim::Shim, bundle: &Bundle) -> (Container, Option<node::Process>) {
    let first = bundle.process();
    let exit = bundle.state.as_ref().and_then(|state| state.exit.as_ref()).map(|exit| exit.status);
    let native = bundle.state.as_ref().is_some_and(|state| state.native.is_some());
    let code = first.as_ref().and_then(|process| code_of(shim, process));
    let role = match (native, &code) {
        (true, _) => Role::Native,
        (false, Some((_, Some(profile)))) => (*profile).into(),
        (false, _) if first.as_ref().is_some_and(|process| process.stat.comm == "wherry-pause") => {
            Role::Sandbox
        }
        (false, _) => Role::Guest,
    };
    let state = match (&first, exit) {
        (Some(_), None) => State::Alive,
        (None, None) if bundle.state.as_ref().is_none_or(|state| state.guest.is_none()) => {
            State::Creating
        }
        _ => State::Stopped,
    };
    let pod = bundle.annotation("io.kubernetes.cri.sandbox-name").map(|name| Pod {
        name,
        namespace: bundle.annotation("io.kubernetes.cri.sandbox-namespace").unwrap_or_default(),
        uid: bundle.annotation("io.kubernetes.cri.sandbox-uid").unwrap_or_default(),
    });
    let mut process = first.as_ref().map(told);
    if let (Role::Native, Some(process)) = (role, &mut process) {
        process.memory_bytes = memory_of_all(shim, bundle).or(process.memory_bytes);
    }
    let container = Container {
        id: bundle.id.clone(),
        role,
        state,
        exit_code: exit,
        pod,
        name: bundle.annotation("io.kubernetes.cri.container-name"),
        image: bundle.annotation("io.kubernetes.cri.image-name"),
        args: bundle.spec.process.args.clone(),
        process,
        module: code.map(|(module, _)| module),
        execs: Vec::new(),
    };
    (container, first)
}

/// A child of the shim that is in a container's mount namespace, and not its first process.
fn add_exec(
    shim: &shim::Shim,
    containers: &mut [(Container, Option<node::Process>)],
    child: node::Process,
) {
    let namespace = child.namespace("mnt");
    let of = containers
        .iter_mut()
        .find(|(_, first)| first.as_ref().is_some_and(|first| first.namespace("mnt") == namespace));
    let Some((container, Some(first))) = of else { return };
    if first.pid != child.pid && namespace.is_some() {
        let module = mapped(shim, &child).map(|(module, _)| module);
        container.execs.push(Exec { process: told(&child), module });
    }
}

fn told(process: &node::Process) -> Process {
    Process {
        pid: u32::try_from(process.pid).unwrap_or(0),
        memory_bytes: process.memory(),
        threads: process.threads(),
        started: process.started(),
    }
}

/// Of everything in the container's cgroup.
fn memory_of_all(shim: &shim::Shim, bundle: &Bundle) -> Option<u64> {
    let groups = bundle.state.as_ref()?.cgroup.as_ref()?;
    let procs = groups.folders.iter().find_map(|group| {
        let path = shim.process.sees(&group.path.join("cgroup.procs"));
        std::fs::read_to_string(path).ok().filter(|text| !text.is_empty())
    })?;
    let pids = procs.lines().filter_map(|line| line.parse().ok());
    let sizes: Vec<u64> = pids.filter_map(|pid| node::Process::of(pid)?.memory()).collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// The code that a process runs, and what the cache says it is for.
fn code_of(shim: &shim::Shim, process: &node::Process) -> Option<(Module, Option<Profile>)> {
    #[derive(Deserialize)]
    struct Sidecar {
        profile: Profile,
    }
    let (module, folder) = mapped(shim, process)?;
    let name = format!("{}.json", module.digest.trim_start_matches("sha256:"));
    let text = std::fs::read_to_string(shim.process.sees(&folder.join(name))).ok();
    let sidecar: Option<Sidecar> = text.and_then(|text| serde_json::from_str(&text).ok());
    Some((module, sidecar.map(|sidecar| sidecar.profile)))
}

/// The file of compiled code that a guest has mapped, by its name, and the folder that it is in. Whoever had it
/// compiled has it from before it had a name (`#<inode>`): then the entry with that inode is the one.
fn mapped(shim: &shim::Shim, process: &node::Process) -> Option<(Module, PathBuf)> {
    if !process.runs(GUEST) {
        return None;
    }
    process.maps().into_iter().find_map(|map| {
        let MMapPath::Path(path) = map.pathname else { return None };
        let folder = path.parent()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        let digest = match name.starts_with('#') {
            true => named(&shim.process.sees(folder), map.inode)?,
            false => digest_of(&name)?,
        };
        let engine = folder.file_name()?.to_string_lossy().into_owned();
        let module = Module { digest: format!("sha256:{digest}"), engine, instances: 1 };
        Some((module, folder.to_owned()))
    })
}

/// The entry of the cache that is this very file.
fn named(folder: &Path, inode: u64) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut same = entries.filter(|entry| entry.metadata().is_ok_and(|file| file.ino() == inode));
    digest_of(&same.next()?.file_name().to_string_lossy())
}

/// `<sha256>.cwasm`, also with words behind it that say that it was removed.
fn digest_of(name: &str) -> Option<String> {
    let (digest, rest) = name.split_once('.')?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    (is_digest && rest.starts_with("cwasm")).then(|| digest.to_owned())
}

fn count_instances(shims: &mut [Shim]) {
    let mut counted: HashMap<(String, String), usize> = HashMap::new();
    let mut each = |modules: &mut dyn FnMut(&mut Module)| {
        for container in shims.iter_mut().flat_map(|shim| &mut shim.containers) {
            let execs = container.execs.iter_mut().filter_map(|exec| exec.module.as_mut());
            container.module.iter_mut().chain(execs).for_each(&mut *modules);
        }
    };
    let key = |module: &Module| (module.engine.clone(), module.digest.clone());
    each(&mut |module| *counted.entry(key(module)).or_default() += 1);
    each(&mut |module| module.instances = counted[&key(module)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_code_is_known_by_its_name() {
        let digest = "87d36c36c3f4e9f0908bb43de88363ed4c2745633e1bdb674dea76d772285ff4";
        assert_eq!(digest_of(&format!("{digest}.cwasm")).as_deref(), Some(digest));
        assert_eq!(digest_of(&format!("{digest}.cwasm (deleted)")).as_deref(), Some(digest));
        assert_eq!(digest_of(&format!("{digest}.json")), None);
        assert_eq!(digest_of("libc.so.6"), None);
    }

    #[test]
    fn a_file_that_had_no_name_is_found_by_its_inode() {
        let folder = tempfile::tempdir().expect("a folder");
        let digest = "0".repeat(64);
        let path = folder.path().join(format!("{digest}.cwasm"));
        std::fs::write(folder.path().join("other"), "").expect("written");
        std::fs::write(&path, "").expect("written");
        let inode = path.metadata().expect("a file").ino();
        assert_eq!(named(folder.path(), inode), Some(digest));
        assert_eq!(named(folder.path(), 1), None);
    }
}
