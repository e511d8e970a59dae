//! Limits: what the kernel is told when a container begins, and when `docker update` changes it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::leaks;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, soon, tool};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("limits_are_those_of_the_kernel", For::Any, limits),
    ("update_changes_the_limits_of_a_program_that_runs", For::Any, updated),
    ("update_changes_the_restart_policy", For::Any, policy),
    ("cpus_are_a_limit_that_holds", For::Any, cpus),
    ("pids_limit_counts_execs", For::Any, pids),
    ("cgroup_parent_is_where_the_cgroup_is", For::Any, parent),
];

/// A limit by its names in both versions of cgroups.
struct Limit {
    v1: (&'static str, &'static str),
    v2: &'static str,
}

const MEMORY: Limit = Limit { v1: ("memory", "memory.limit_in_bytes"), v2: "memory.max" };
const PIDS: Limit = Limit { v1: ("pids", "pids.max"), v2: "pids.max" };
const CPUSET: Limit = Limit { v1: ("cpuset", "cpuset.cpus"), v2: "cpuset.cpus" };

fn folder(pid: u32, controller: &str) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/cgroup");
    let table = fs::read_to_string(&path).context(path)?;
    let all = table.lines().filter_map(|line| {
        let mut words = line.splitn(3, ':').skip(1);
        Some((words.next()?, words.next()?))
    });
    let found = all.into_iter().find(|(names, _)| names.split(',').any(|name| name == controller));
    let (names, path) = found.with_context(|| format!("no {controller} in {table}"))?;
    let root = Path::new("/sys/fs/cgroup");
    // A hierarchy of several controllers is reached by the name of each.
    let root = if names.is_empty() { root.to_path_buf() } else { root.join(controller) };
    Ok(root.join(path.trim_start_matches('/')))
}

fn limit(pid: u32, limit: &Limit) -> Result<String> {
    let (controller, file) = limit.v1;
    let path = match folder(pid, controller) {
        Ok(folder) => folder.join(file),
        Err(_) => folder(pid, "")?.join(limit.v2),
    };
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_string())
}

/// Microseconds of processor time in a period of 100 ms.
fn quota(pid: u32) -> Result<String> {
    match folder(pid, "cpu") {
        Ok(folder) => Ok(fs::read_to_string(folder.join("cpu.cfs_quota_us"))?.trim().to_string()),
        Err(_) => {
            let text = fs::read_to_string(folder(pid, "")?.join("cpu.max"))?;
            Ok(text.split(' ').next().unwrap_or_default().to_string())
        }
    }
}

fn limits(docker: &Docker) -> Result<()> {
    let options = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0"];
    let idle = Kept::idle(docker, &options)?;
    let pid = idle.pid()?;
    let seen = [limit(pid, &MEMORY)?, quota(pid)?, limit(pid, &PIDS)?, limit(pid, &CPUSET)?];
    ensure!(seen == ["67108864", "50000", "50", "0"], "{seen:?}");
    // An exec lives under the same limits.
    idle.exec(&["-d"], &["sleep", "1000"], "")?;
    let top = soon(|| idle.done(&["top"]), |top| top.lines().count() == 3)?;
    let other = top.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    let other: u32 = other.into_iter().find(|other| *other != pid).context("no exec")?;
    ensure!(limit(other, &MEMORY)? == "67108864");
    Ok(())
}

fn updated(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--memory", "64m", "--cpus", "0.5"])?;
    let pid = idle.pid()?;
    idle.done(&[
        "update",
        "--memory",
        "128m",
        "--memory-swap",
        "128m",
        "--cpus",
        "1",
        "--pids-limit",
        "40",
        "--cpuset-cpus",
        "0",
    ])?;
    let seen = [limit(pid, &MEMORY)?, quota(pid)?, limit(pid, &PIDS)?, limit(pid, &CPUSET)?];
    ensure!(seen == ["134217728", "100000", "40", "0"], "{seen:?}");
    let stats = idle.done(&["stats", "--no-stream", "--format", "{{.MemUsage}}"])?;
    ensure!(stats.contains("/ 128MiB"), "{stats}");
    // What it was told last holds when it starts again.
    idle.done(&["restart", "--time", "1"])?;
    let pid = idle.pid()?;
    ensure!(limit(pid, &MEMORY)? == "134217728" && quota(pid)? == "100000");
    Ok(())
}

fn policy(docker: &Docker) -> Result<()> {
    let text = "echo began >> /begun; until test -f /go; do sleep 0.05; done; rm /go; exit 3";
    let ends = Kept::tool(docker, &[], &["sh", "-c", text])?;
    ends.done(&["update", "--restart", "on-failure:1"])?;
    for times in [1, 2] {
        let begun = || Ok(ends.exec(&[], &["cat", "/begun"], "")?.stdout.lines().count());
        soon(begun, |begun| *begun == times)?;
        // The program may be over, and its container with it, before this has ended.
        ends.exec(&[], &["touch", "/go"], "")?;
    }
    soon(|| ends.status(), |status| status == "exited")?;
    ensure!(ends.told("{{.RestartCount}} {{.State.ExitCode}}")? == "1 3", "{}", ends.state()?);
    Ok(())
}

/// A loop that wants a whole processor: the kernel holds it back, and counts how often. So little is allowed
/// that a machine which is busy elsewhere gives more.
fn cpus(docker: &Docker) -> Result<()> {
    let spins = Kept::guest(docker, "spin", &["--cpus", "0.05"], &[])?;
    let pid = spins.pid()?;
    let folder = folder(pid, "cpu").or_else(|_| folder(pid, ""))?;
    let throttled = || {
        let stat = fs::read_to_string(folder.join("cpu.stat"))?;
        let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        line.context("nr_throttled")?.parse::<u32>().context("nr_throttled")
    };
    soon(throttled, |times| *times >= 3)?;
    Ok(())
}

/// As many as are allowed run, one more does not, and is told why.
fn pids(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["--pids-limit", "3"])?;
    let mut running = 0;
    while running < 5 && idle.exec(&["-d"], &["sleep", "1000"], "")?.code == 0 {
        running += 1;
    }
    ensure!(running < 5, "{running} execs with a limit of 3");
    ensure!(idle.status()? == "running", "{}", idle.state()?);
    Ok(())
}

fn parent(docker: &Docker) -> Result<()> {
    let parent = format!("/{}/below", docker.world().containerd.place.tag);
    let idle = Kept::idle(docker, &["--cgroup-parent", &parent])?;
    let table = fs::read_to_string(format!("/proc/{}/cgroup", idle.pid()?))?;
    ensure!(table.contains(&format!("{parent}/{}", idle.id)), "{table}");
    drop(idle);
    // Nobody owns the parent: who asked for it takes it away.
    for folder in leaks::cgroups(&docker.world().containerd.place.tag) {
        if folder.ends_with("below") {
            fs::remove_dir(&folder).with_context(|| folder.display().to_string())?;
        }
    }
    let done = tool(docker, &["--memory", "1m"], &["true"])?;
    ensure!(done.code == 125 && done.stderr.contains("6MB"), "{done}");
    Ok(())
}
