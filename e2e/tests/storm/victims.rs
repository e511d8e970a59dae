//! Who is to be killed, found among the processes of our own place, and killed.

use std::fs;
use std::path::Path;

use wherry_e2e::command::{kill_9, until};
use wherry_e2e::place::Place;
use wherry_e2e::storm::companions;

use crate::field::PATIENCE;
use crate::programs::id;

fn words(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// State and session: fields 3 and 6 of `/proc/<pid>/stat` (proc(5)).
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.to_string();
    Some((state, fields.nth(2)?.parse().ok()?))
}

/// The shims that look after the containers of `slot` and its companions.
pub(crate) fn shims(place: &Place, slot: usize) -> Vec<u32> {
    let ids: Vec<String> = companions(slot).map(id).collect();
    let serves = |pid: &u32| {
        let words = words(*pid);
        let named = words.first().is_some_and(|program| program.contains("containerd-shim-"))
            && words.windows(2).any(|pair| pair[0] == "-id" && ids.contains(&pair[1]));
        // `delete` cleans up, and `start` is on its way out; ours is a fork of it with a session of its own.
        let has = |word: &str| words.iter().any(|other| other == word);
        let session = stat(*pid).map(|(_, session)| session);
        named && !has("delete") && (!has("start") || session == Some(*pid))
    };
    place.daemons().into_iter().filter(serves).collect()
}

pub(crate) fn compilers(place: &Place) -> Vec<u32> {
    let compiles = |pid: &u32| {
        let words = words(*pid);
        words.first().is_some_and(|program| program.ends_with("wherry"))
            && words.iter().any(|word| word == "compile")
    };
    place.daemons().into_iter().filter(compiles).collect()
}

pub(crate) fn runcs(place: &Place) -> Vec<u32> {
    let is_runc = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "runc"
    };
    place.daemons().into_iter().filter(is_runc).collect()
}

/// What runs in the cgroup of this container.
pub(crate) fn guests(place: &Place, slot: usize) -> Vec<u32> {
    let hierarchies = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
    let folder = |root: &&str| Path::new(root).join(&place.tag).join(id(slot)).join("cgroup.procs");
    let procs = hierarchies.iter().map(folder).find_map(|path| fs::read_to_string(path).ok());
    procs.unwrap_or_default().lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// `kill -9`. A process that is gone already is none that was killed.
pub(crate) fn kill(pid: u32) -> bool {
    kill_9(pid).is_ok()
}

/// Waits until nothing of the process can answer any more.
pub(crate) fn is_gone(pid: u32) -> bool {
    until(PATIENCE, || stat(pid).is_none_or(|(state, _)| state == "Z"))
}
