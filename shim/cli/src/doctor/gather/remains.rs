//! The cache, and what containers may have left behind.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use wherry_core::spec::Options;

use crate::doctor::containerd::Config;
use crate::doctor::facts::{Cache, CacheState, Containerd, Leftovers, Room};
use crate::node::bundle::Bundle;
use crate::node::shim::{self, BUNDLES, Shim};
use crate::node::{self, Process};

/// What is being made or taken away just now looks like a leftover, and is another thing a moment later.
const MOMENT: Duration = Duration::from_secs(1);

/// Where shims listen, whatever containerd's state is (containerd `pkg/shim/util_unix.go`).
const SOCKETS: &str = "/run/containerd/s";

pub(super) fn caches(options: &[Options]) -> Vec<Cache> {
    let standard = [Options::default()];
    let options = if options.is_empty() { &standard } else { options };
    let mut dirs: Vec<(&Path, u64)> =
        options.iter().map(|one| (one.cache_dir.as_path(), one.cache_max_bytes)).collect();
    dirs.sort();
    dirs.dedup_by_key(|(dir, _)| dir.to_owned());
    let look = |(dir, max_bytes): (&Path, u64)| Cache {
        dir: dir.to_owned(),
        max_bytes,
        state: if dir.exists() { state(dir, max_bytes) } else { CacheState::Absent },
        room: room(dir),
    };
    dirs.into_iter().map(look).collect()
}

/// Of the folder, or of the one in which it would be made.
fn room(dir: &Path) -> Option<Room> {
    let there = dir.ancestors().find(|folder| folder.exists())?;
    let told = rustix::fs::statvfs(there).ok()?;
    // Nothing counted is no limit: of bytes in a tmpfs with `size=0`, of files in btrfs.
    Some(Room {
        read_only: told.f_flag.contains(StatVfsMountFlags::RDONLY),
        bytes: (told.f_blocks > 0).then(|| told.f_bavail.saturating_mul(told.f_frsize)),
        inodes: (told.f_files > 0).then_some(told.f_favail),
    })
}

fn state(dir: &Path, max_bytes: u64) -> CacheState {
    let seen = || -> Result<CacheState, wherry_cache::Error> {
        let cache = wherry_cache::Cache::open(dir, max_bytes)?;
        let verified = cache.verify()?;
        let bytes = cache.list()?.iter().map(|entry| entry.bytes).sum();
        Ok(CacheState::Seen {
            entries: verified.sound + verified.unsound.len(),
            bytes,
            damaged: verified.unsound.iter().map(|(_, digest)| digest.to_string()).collect(),
        })
    };
    seen().unwrap_or_else(|error| CacheState::Unusable(told(&error)))
}

fn told(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", told(source)));
    format!("{error}{}", source.unwrap_or_default())
}

/// What is there at two looks, a moment apart.
pub(super) fn leftovers(containerd: &Containerd) -> anyhow::Result<Leftovers> {
    let Ok(config) = &containerd.config else { return Ok(Leftovers::default()) };
    let first = look(containerd, config)?;
    if first.is_empty() {
        return Ok(first);
    }
    std::thread::sleep(MOMENT);
    Ok(first.and(&look(containerd, config)?))
}

impl Leftovers {
    fn is_empty(&self) -> bool {
        let Leftovers { bundles, shims, processes, mounts, cgroups, sockets, unknown_sockets } =
            self;
        bundles.is_empty()
            && shims.is_empty()
            && processes.is_empty()
            && [mounts, cgroups, sockets, unknown_sockets].iter().all(|paths| paths.is_empty())
    }

    fn and(mut self, other: &Leftovers) -> Leftovers {
        self.bundles.retain(|one| other.bundles.contains(one));
        self.shims.retain(|one| other.shims.contains(one));
        self.processes.retain(|one| other.processes.contains(one));
        self.mounts.retain(|one| other.mounts.contains(one));
        self.cgroups.retain(|one| other.cgroups.contains(one));
        self.sockets.retain(|one| other.sockets.contains(one));
        self.unknown_sockets.retain(|one| other.unknown_sockets.contains(one));
        self
    }
}

fn look(containerd: &Containerd, config: &Config) -> anyhow::Result<Leftovers> {
    let guests = orphans(&node::processes()?);
    let shims = shim::among(node::processes()?);
    let folder = config.state.join(BUNDLES);
    let mut left = Leftovers { processes: guests, ..Leftovers::default() };
    let (mut alive, mut ours) = (BTreeSet::new(), BTreeSet::new());
    for namespace in names(&folder) {
        for bundle in Bundle::all(Path::new("/"), &folder.join(&namespace)) {
            if !bundle.is_ours() || shims.iter().any(|shim| shim.listens_for(&bundle)) {
                alive.insert(bundle.path.clone());
                continue;
            }
            let groups = bundle.state.iter().filter_map(|state| state.cgroup.as_ref());
            let paths = groups.flat_map(|groups| &groups.folders).map(|group| group.path.clone());
            left.cgroups.extend(paths.filter(|path| path.exists()));
            ours.extend(bundle.socket);
            left.bundles.push((namespace.clone(), bundle.id));
        }
    }
    left.mounts = mounts(&folder).into_iter().filter(|at| !alive.contains(at)).collect();
    let unknown = |shim: &&Shim| shim.containerd == containerd.address && !shim.is_wanted();
    left.shims =
        shims.iter().filter(unknown).map(|shim| (shim.process.pid, shim.id.clone())).collect();
    // runc's shim leaves its socket when it is killed, and containerd removes none.
    (left.sockets, left.unknown_sockets) =
        dead_sockets(containerd, config).into_iter().partition(|socket| ours.contains(socket));
    Ok(left)
}

/// Guests and sandboxes of no shim.
fn orphans(all: &[Process]) -> Vec<(i32, String)> {
    let parent_is_shim = |process: &Process| {
        let parent = all.iter().find(|one| one.pid == process.stat.ppid);
        parent.is_some_and(|parent| parent.stat.comm == shim::PROGRAM[..15])
    };
    let is_guest = |process: &&Process| match process.stat.comm.as_str() {
        "wherry-guest" => process.runs("wherry-guest"),
        "wherry-pause" => process.runs(shim::PROGRAM),
        _ => false,
    };
    let orphans = all.iter().filter(is_guest).filter(|process| !parent_is_shim(process));
    orphans.map(|process| (process.pid, process.stat.comm.clone())).collect()
}

/// The bundles on whose root file system something is mounted.
fn mounts(folder: &Path) -> Vec<PathBuf> {
    let Some(me) = procfs::process::Process::myself().ok() else { return Vec::new() };
    let points = me.mountinfo().into_iter().flatten().map(|mount| mount.mount_point);
    let of_bundle = |at: PathBuf| {
        (at.starts_with(folder) && at.ends_with("rootfs"))
            .then(|| at.parent().map(Path::to_owned))?
    };
    points.filter_map(of_bundle).collect()
}

fn dead_sockets(containerd: &Containerd, config: &Config) -> Vec<PathBuf> {
    let daemon = containerd.pid.and_then(|pid| Process::of(u32::try_from(pid).ok()?));
    let Some(daemon) = daemon else { return Vec::new() };
    let heard: BTreeSet<PathBuf> =
        daemon.unix_sockets().into_iter().filter_map(|socket| socket.path).collect();
    let folders = [Some(PathBuf::from(SOCKETS)), config.socket_dir.clone()];
    let mut dead = Vec::new();
    for folder in folders.into_iter().flatten() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
            if is_socket && !heard.contains(&entry.path()) {
                dead.push(entry.path());
            }
        }
    }
    dead
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
