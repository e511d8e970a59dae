//! What is kept, and what should not be there any more.

use std::path::PathBuf;

use super::Finding;
use crate::cache::size;
use crate::doctor::facts::{Cache, CacheState, Leftovers, Room};

/// Room for a few large programs.
const FREE: u64 = 512 << 20;

/// The code of the smallest programs has room in this.
const LEAST: u64 = 64 << 10;

/// What a program takes: a folder of its engine, its lock, its code, and what is known of it.
const FILES: u64 = 4;

/// How many of a kind are named.
const NAMED: usize = 5;

pub(super) fn cache(cache: &Cache) -> Finding {
    let dir = cache.dir.display();
    let check = "cache";
    if let CacheState::Unusable(why) = &cache.state {
        return Finding::fail(
            check,
            format!("{why}: no Wasm container starts"),
            format!("chown root: {dir} && chmod 0700 {dir}, or rm -r {dir}: it is filled again"),
        );
    }
    if let Some((why, todo)) = cache.room.as_ref().and_then(shut) {
        return Finding::fail(
            check,
            format!("{dir} {why}: no program starts that is not compiled yet"),
            todo,
        );
    }
    let (entries, bytes) = match &cache.state {
        CacheState::Seen { damaged, entries, .. } if !damaged.is_empty() => {
            return Finding::warn(
                check,
                format!(
                    "{dir} had {} damaged of {entries}, which are removed: {}",
                    damaged.len(),
                    named(damaged)
                ),
                "nothing: they are compiled again when they are wanted. If it happens again, look at the disk (dmesg)",
            );
        }
        CacheState::Seen { entries, bytes, .. } => (*entries, *bytes),
        CacheState::Absent | CacheState::Unusable(_) => (0, 0),
    };
    if let Some(free) = cache.room.and_then(|room| room.bytes).filter(|free| *free < FREE) {
        return Finding::warn(
            check,
            format!("{dir} has {} of room", size(free)),
            "make room on its disk, or wherry cache prune --max-bytes N",
        );
    }
    match cache.state {
        CacheState::Absent => {
            Finding::ok(check, format!("{dir} is not there yet: nothing was compiled"))
        }
        _ => {
            let most = size(cache.max_bytes);
            Finding::ok(check, format!("{dir}: {entries} sound, {} of {most}", size(bytes)))
        }
    }
}

/// Why nothing new can be put there, and what to do.
fn shut(room: &Room) -> Option<(&'static str, &'static str)> {
    if room.read_only {
        let todo = "mount its file system for writing: findmnt -T PATH names it, and dmesg tells whether the kernel \
                    made it read-only";
        return Some(("is on a file system that is read-only", todo));
    }
    if room.bytes.is_some_and(|bytes| bytes < LEAST) {
        return Some(("is on a disk that is full", "make room on it (df PATH)"));
    }
    let few = room.inodes.is_some_and(|inodes| inodes < FILES);
    few.then_some((
        "is on a file system that takes no more files",
        "remove files from it (df -i PATH), or make it anew with more inodes",
    ))
}

pub(super) fn leftovers(left: &Leftovers) -> Vec<Finding> {
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    let numbered =
        |all: &[(i32, String)]| all.iter().map(|(pid, name)| format!("{pid} ({name})")).collect();
    let bundles = left.bundles.iter().map(|(namespace, id)| format!("{namespace}/{id}")).collect();
    let kinds: [(&'static str, Vec<String>, &str, &str); 6] = [
        (
            "leftovers.bundles",
            bundles,
            "containers whose shim is dead",
            "ctr --namespace NAMESPACE tasks delete --force ID; a restart of containerd does it for all",
        ),
        (
            "leftovers.shims",
            numbered(&left.shims),
            "shims that containerd does not know any more",
            "pkill -KILL -P PID; kill -9 PID: what runs under it first. It happens where the shim's file or its bundles \
             are removed while containers run",
        ),
        (
            "leftovers.processes",
            numbered(&left.processes),
            "processes of containers without a shim",
            "kill -9 PID",
        ),
        (
            "leftovers.mounts",
            paths(&left.mounts),
            "root file systems of containers that are gone",
            "umount PATH",
        ),
        (
            "leftovers.cgroups",
            paths(&left.cgroups),
            "cgroups of containers whose shim is dead",
            "they go with the container: ctr --namespace NAMESPACE tasks delete --force ID",
        ),
        (
            "leftovers.sockets",
            paths(&left.sockets),
            "sockets of shims on which nobody listens",
            "rm PATH",
        ),
    ];
    let found = kinds.into_iter().filter(|(_, all, ..)| !all.is_empty());
    let mut findings: Vec<Finding> = found
        .map(|(check, all, what, todo)| {
            Finding::warn(check, format!("{what}: {}", named(&all)), todo)
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("leftovers", "nothing is left of containers that are gone"));
    }
    findings.extend(unknown_sockets(&left.unknown_sockets));
    findings
}

/// They may be runc's, and hold nothing but their names.
fn unknown_sockets(sockets: &[PathBuf]) -> Option<Finding> {
    let sockets: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
    let what =
        "for information: sockets on which no shim listens, of whichever runtime; they do no harm";
    let found = || Finding::ok("sockets.unknown", format!("{what}: {}", named(&sockets)));
    (!sockets.is_empty()).then(found)
}

/// The first few, and how many more.
fn named(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let first = super::list(&all[..all.len().min(NAMED)]);
    if more == 0 { first } else { format!("{first} and {more} more") }
}
