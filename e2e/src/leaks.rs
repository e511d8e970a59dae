//! The proof that nothing of ours remains: no task, process, mount, cgroup, network namespace, socket, bundle
//! or half-written file. Looked for in the [`Place`] and, where a kernel table knows no places, by its tag.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::{kill_9, until};
use crate::containerd::Containerd;
use crate::place::Place;

/// How long a shim may take to go after its last container.
const SETTLE: Duration = Duration::from_secs(10);

/// Asks until nothing is left or time is up; then stops the daemon and asks once more.
pub fn after(containerd: &Containerd) -> Result<()> {
    let mut left = Vec::new();
    if !until(SETTLE, || {
        left = living(containerd);
        left.is_empty()
    }) {
        bail!("{}", left.join("\n  "));
    }
    containerd.stop()?;
    let place = &containerd.place;
    until(SETTLE, || {
        left = place_left(place, None);
        left.is_empty()
    });
    left.extend(bundles(containerd));
    if !left.is_empty() {
        bail!("after containerd's end: {}", left.join("\n  "));
    }
    Ok(())
}

/// What is left of containers while the daemon runs.
pub fn living(containerd: &Containerd) -> Vec<String> {
    let client = containerd.client();
    let mut left = Vec::new();
    for id in client.task_ids().unwrap_or_default() {
        left.push(format!("task {id}"));
    }
    for id in client.containers().unwrap_or_default() {
        left.push(format!("container {id}"));
    }
    left.extend(place_left(&containerd.place, containerd.daemon_pid()));
    left.extend(bundles(containerd));
    left
}

fn place_left(place: &Place, daemon: Option<u32>) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(processes(place, daemon));
    left.extend(place.new_mounts().into_iter().map(|at| format!("mount {at}")));
    left.extend(cgroups(&place.tag).into_iter().map(|at| format!("cgroup {}", at.display())));
    left.extend(
        files(&place.inside("/run/containerd/s")).into_iter().map(|at| format!("socket {at}")),
    );
    let runc = place.inside("/run/containerd/runc").join(&place.tag);
    left.extend(files(&runc).into_iter().map(|at| format!("state of runc {at}")));
    left.extend(unfinished(vec![place.path("wherry"), place.inside("/run/wherry")]));
    left
}

fn processes(place: &Place, daemon: Option<u32>) -> Vec<String> {
    let told = |pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid}: {}", String::from_utf8_lossy(&words).replace('\0', " "))
    };
    pids_of(place, daemon).into_iter().map(told).collect()
}

/// Shims and what they run.
pub fn pids_of_containers(containerd: &Containerd) -> Vec<u32> {
    pids_of(&containerd.place, containerd.daemon_pid())
}

/// The shim of a container: the one whose arguments name it.
pub fn shim_of(containerd: &Containerd, id: &str) -> Option<u32> {
    let is_shim = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.contains("containerd-shim-") && words.contains(id)
    };
    pids_of_containers(containerd).into_iter().find(is_shim)
}

/// Processes in the place's mount namespace, in one of our cgroups, with one of our mounts, or that name us.
fn pids_of(place: &Place, daemon: Option<u32>) -> Vec<u32> {
    let namespace_of = |pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let ours = namespace_of(place.pid());
    let names_us = |pid, name| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.contains(&place.tag) || text.contains(&*place.root().to_string_lossy())
    };
    let is_ours = |pid: u32| {
        let namespace = namespace_of(pid);
        (namespace.is_some() && namespace == ours)
            || ["cmdline", "environ", "cgroup", "mountinfo"].iter().any(|name| names_us(pid, name))
    };
    let known = [Some(place.pid()), daemon, Some(std::process::id())];
    let others = pids().into_iter().filter(|pid| !known.contains(&Some(*pid)));
    others.filter(|pid| is_ours(*pid) && !is_child_of(*pid, std::process::id())).collect()
}

/// Programs that a case has started beside the daemon (a client) and that are about to end.
fn is_child_of(pid: u32, parent: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    after_name.split(' ').nth(1) == Some(&parent.to_string()) && program.trim() != "wherry-guest"
}

fn pids() -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Cgroups, of every hierarchy, whose path holds the tag.
pub fn cgroups(tag: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            // The parent, named by the tag, stays: runc and we make it and nobody owns it.
            if folder.to_string_lossy().contains(tag) {
                found.insert(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

/// Files of containerd's bundles.
fn bundles(containerd: &Containerd) -> Vec<String> {
    let below = |kind: &str| containerd.place.path(kind).join(&containerd.place.tag);
    let mut left = files(&below("state/io.containerd.runtime.v2.task"));
    left.extend(files(&below("root/io.containerd.runtime.v2.task")));
    left.into_iter().map(|at| format!("bundle {at}")).collect()
}

/// Files in the cache that are no finished entry, and files of containers below our own `/run/wherry`.
pub(crate) fn unfinished(mut folders: Vec<PathBuf>) -> Vec<String> {
    let mut left = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            // An entry is code and what is told of it; everything else is on its way to being one.
            let half = match name.split_once('.') {
                Some((digest, "cwasm")) => !folder.join(format!("{digest}.json")).exists(),
                Some((digest, "json")) => !folder.join(format!("{digest}.cwasm")).exists(),
                Some((_, "lock" | "cwasm.new" | "json.new" | "sock")) => true,
                _ => name.contains("tmp"),
            };
            if half {
                left.push(format!("file {}", path.display()));
            }
        }
    }
    left
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

/// Ends what is left, for the machine's sake, after it has been told: processes and cgroups. The parents of
/// containers' cgroups are always left, because nobody owns them.
pub fn sweep(containerd: &Containerd) {
    let clean = until(SETTLE, || {
        let left = pids_of(&containerd.place, None);
        left.iter().for_each(|pid| drop(kill_9(*pid)));
        left.is_empty()
    });
    if !clean {
        eprintln!("processes of {} can't be ended", containerd.place.tag);
    }
    let tag = &containerd.place.tag;
    // The deepest first: a cgroup with others below it stays.
    for cgroup in cgroups(tag).into_iter().rev() {
        fs::remove_dir(cgroup).ok();
    }
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
        fs::remove_dir(hierarchy.join(tag)).ok();
        fs::remove_dir(hierarchy.join(format!("{tag}-daemons"))).ok();
    }
}
