//! Times and sizes: one container timed through its phases, order statistics, and the memory of a place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::containerd::Containerd;
use crate::task::{Container, RUN};

/// How long each phase of one container took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// `Tasks.Create`, answered.
    pub create: Duration,
    /// `Tasks.Start`, answered.
    pub start: Duration,
    /// From there until the exit is known and both outputs are closed.
    pub exit: Duration,
    /// `Tasks.Delete`, answered; containerd has then run the shim's `delete` too.
    pub delete: Duration,
    /// From the first call to the last answer.
    pub total: Duration,
    /// From the call of `Tasks.Start` to the first byte on stdout, where there was one.
    pub first_output: Option<Duration>,
}

impl Phases {
    pub const NAMES: [&str; 6] = ["create", "start", "exit", "delete", "total", "output"];

    pub fn all(&self) -> [Option<Duration>; 6] {
        let Phases { create, start, exit, delete, total, first_output } = *self;
        [Some(create), Some(start), Some(exit), Some(delete), Some(total), first_output]
    }
}

/// Runs a container through its phases. `said` must be what it prints, if it must print anything.
pub fn phases(containerd: &Containerd, container: Container, said: Option<&str>) -> Result<Phases> {
    let (mut task, created) = container.create_timed(containerd)?;
    let before_start = Instant::now();
    task.start()?;
    let started = before_start.elapsed();
    let ending = Instant::now();
    task.wait(RUN)?;
    let first_output = task.first_output().map(|at| at.saturating_duration_since(before_start));
    if let Some(said) = said {
        let (stdout, stderr) = task.output();
        ensure!(stdout == said, "printed {stdout:?} and {stderr:?} instead of {said:?}");
    }
    let ended = ending.elapsed();
    let deleting = Instant::now();
    task.delete_task()?;
    let deleted = deleting.elapsed();
    task.delete_rest()?;
    Ok(Phases {
        create: created,
        start: started,
        exit: ended,
        delete: deleted,
        total: created + started + ended + deleted,
        first_output,
    })
}

/// The value that `share` (0 to 1) of all are not above; the nearest rank.
pub fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Bytes of memory that the processes of containers hold, shared pages counted in parts (PSS).
pub fn memory(containerd: &Containerd) -> u64 {
    let pids = crate::leaks::pids_of_containers(containerd);
    pids.into_iter().map(|pid| proportional_size(&process(pid))).sum()
}

/// The folder of a process, as this machine counts.
pub fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Bytes of memory that the process of this folder in a `/proc` holds, shared pages counted in parts (PSS).
pub fn proportional_size(process: &Path) -> u64 {
    rolled_up(process, &["Pss:"])
}

/// Bytes of memory that would be free without the process: what it shares with nobody (USS).
pub fn own_size(process: &Path) -> u64 {
    rolled_up(process, &["Private_Clean:", "Private_Dirty:"])
}

/// Bytes of memory that no file stands behind.
pub fn anonymous(process: &Path) -> u64 {
    rolled_up(process, &["Anonymous:"])
}

fn rolled_up(process: &Path, names: &[&str]) -> u64 {
    let told = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    let of = |line: &str| {
        let rest = names.iter().find_map(|name| line.strip_prefix(name))?;
        rest.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    told.lines().filter_map(of).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_nearest_rank() {
        let values: Vec<Duration> = (1..=10).rev().map(Duration::from_millis).collect();
        let shares = [0.0, 0.05, 0.5, 0.51, 0.9, 0.99, 1.0];
        let found = shares.map(|share| quantile(&values, share).as_millis());
        assert_eq!(found, [1, 1, 5, 6, 9, 10, 10]);
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
