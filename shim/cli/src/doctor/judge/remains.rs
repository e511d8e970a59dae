//! What is kept, and what should not be there any more.

use std::path::PathBuf;

use super::Finding;
use crate::cache::size;
use crate::doctor::facts::{Cache, CacheState, Leftovers};

/// Room for a few large programs.
const FREE: u64 = 512 << 20;

/// How many of a kind are named.
const NAMED: usize = 5;

pub(super) fn cache(cache: &Cache) -> Finding {
    let dir = cache.dir.display();
    let check = "cache";
    let (entries, bytes, damaged, free) = match &cache.state {
        CacheState::Absent => {
            return Finding::ok(check, format!("{dir} is not there yet: nothing was compiled"));
        }
        CacheState::Unusable(why) => {
            return Finding::fail(
                check,
                format!("{why}: no Wasm container starts"),
                format!(
                    "chown root: {dir} && chmod 0700 {dir}, or rm -r {dir}: it is filled again"
                ),
            );
        }
        CacheState::Seen { entries, bytes, damaged, free_bytes } => {
            (*entries, *bytes, damaged, *free_bytes)
        }
    };
    if !damaged.is_empty() {
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
    if free < FREE {
        return Finding::warn(
            check,
            format!("{dir} has {} of room", size(free)),
            "make room on its disk, or wherry cache prune --max-bytes N",
        );
    }
    let most = size(cache.max_bytes);
    Finding::ok(check, format!("{dir}: {entries} sound, {} of {most}", size(bytes)))
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
    findings
}

/// The first few, and how many more.
fn named(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let first = super::list(&all[..all.len().min(NAMED)]);
    if more == 0 { first } else { format!("{first} and {more} more") }
}
