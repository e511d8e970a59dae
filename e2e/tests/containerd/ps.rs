//! `wherry ps`: what runs, as it is told without asking anyone.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wherry_e2e::command::{self, Output, until};
use wherry_e2e::containerd::COMMAND;
use wherry_e2e::exec::Exec;
use wherry_e2e::image::Recipe;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};
use wherry_e2e::{guests, http, leaks, rig};

use crate::lifecycle::ends;
use crate::pods::{joined, sandbox};

pub(crate) const CASES: &[Case] = &[
    ("ps_tells_of_a_command_what_it_is", For::Wherry, command_runs),
    ("ps_tells_a_service_from_a_command", For::Wherry, service),
    ("ps_tells_execs_with_their_container", For::Wherry, exec),
    ("ps_tells_a_pods_containers_under_one_shim", For::Wherry, pod),
    ("ps_tells_that_a_container_has_ended", For::Wherry, ended),
    ("ps_tells_people_a_table", For::Wherry, table),
    ("ps_tells_how_many_run_the_same_module", For::Wherry, instances),
    ("ps_says_who_may_ask", For::Wherry, unprivileged),
];

const KILL: u32 = 9;

fn ps(world: &World, words: &[&str]) -> Result<Output> {
    let mut command = std::process::Command::new(rig::programs()?.join("wherry"));
    command.args(["ps", "--address"]).arg(world.containerd.socket()).args(words);
    command::run(&mut command, b"", COMMAND)
}

/// The shim that has this container, and the container.
fn found(world: &World, id: &str) -> Result<(Value, Value)> {
    let told = ps(world, &["--json"])?.ok()?;
    let listing: Value = serde_json::from_str(&told.stdout)?;
    for shim in listing["shims"].as_array().context("no shims")? {
        let containers = shim["containers"].as_array().context("no containers")?;
        if let Some(container) = containers.iter().find(|one| one["id"] == id) {
            return Ok((shim.clone(), container.clone()));
        }
    }
    anyhow::bail!("{id} is not among {listing:#}")
}

fn running(world: &World, container: Container) -> Result<Task> {
    let task = container.create(&world.containerd)?;
    task.start()?;
    Ok(task)
}

fn digest(guest: &str) -> Result<String> {
    let bytes = fs::read(guests::path(guest)?)?;
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}

fn command_runs(world: &World) -> Result<()> {
    let task = running(world, world.guest("sleep")?)?;
    task.says("sleeping")?;
    let (shim, container) = found(world, &task.id)?;
    ensure!(shim["namespace"] == *world.containerd.place.tag, "{shim}");
    ensure!(
        shim["pid"] == leaks::shim_of(&world.containerd, &task.id).context("no shim")?,
        "{shim}"
    );
    ensure!(
        shim["program"] == *rig::programs()?.join("containerd-shim-wherry-v1").to_string_lossy()
    );
    ensure!(shim["replaced"] == false, "{shim}");
    ensure!(container["role"] == "command" && container["state"] == "alive", "{container}");
    ensure!(container["pid"] == task.pid, "{container}");
    ensure!(container["args"][0] == "/sleep.wasm", "{container}");
    ensure!(container["module"]["digest"] == *digest("sleep")?, "{container}");
    for one in [&shim, &container] {
        ensure!(one["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 50_000), "{one}");
        ensure!(one["threads"].as_u64().is_some_and(|threads| threads > 0), "{one}");
        let age = std::time::UNIX_EPOCH
            .elapsed()?
            .as_secs()
            .abs_diff(one["started"].as_u64().unwrap_or(0));
        ensure!(age < 600, "{one}");
    }
    ends(task, KILL, 137)
}

fn service(world: &World) -> Result<()> {
    let at = http::free_address()?;
    let service = world.guest("http-p2")?.host_network();
    let task = running(world, service.annotation("wherry.dev/http.listen", &at.to_string()))?;
    http::listening(at)?;
    let (_, container) = found(world, &task.id)?;
    ensure!(container["role"] == "service", "{container}");
    ensure!(container["module"]["digest"] == *digest("http-p2")?, "{container}");
    ends(task, KILL, 137)
}

fn exec(world: &World) -> Result<()> {
    let task = running(world, world.guest("sleep")?)?;
    task.says("sleeping")?;
    let exec = Exec::of(&["sh", "-c", "echo here; sleep 1000"]).add_to(&task)?;
    let pid = exec.start()?;
    exec.says("here")?;
    let (_, container) = found(world, &task.id)?;
    let execs = container["execs"].as_array().context("no execs")?;
    ensure!(execs.len() == 1 && execs[0]["pid"] == pid, "{container}");
    let modules = (&execs[0]["module"]["digest"], &container["module"]["digest"]);
    ensure!(modules.0.is_string() && modules.0 != modules.1, "{container}");
    drop(exec);
    ends(task, KILL, 137)
}

fn pod(world: &World) -> Result<()> {
    let named = |container: Container, name: &str| {
        container
            .annotation("io.kubernetes.cri.sandbox-name", "web")
            .annotation("io.kubernetes.cri.sandbox-namespace", "shop")
            .annotation("io.kubernetes.cri.container-name", name)
    };
    let pod = running(world, named(sandbox(world, "ps-pod")?, ""))?;
    let kinds = &["network", "ipc", "uts"];
    let guest = running(world, named(joined(world.guest("sleep")?, &pod, kinds), "one"))?;
    guest.says("sleeping")?;
    let script =
        Container::of(&world.busybox()?).args(&["sh", "-c", "echo beside; exec busybox sleep 1d"]);
    let native = running(world, named(joined(script, &pod, kinds), "two"))?;
    native.says("beside")?;
    let (shim, one) = found(world, &guest.id)?;
    let roles = [(&pod, "sandbox"), (&guest, "command"), (&native, "native")];
    for ((task, role), told) in roles.iter().zip(shim["containers"].as_array().context("none")?) {
        ensure!(
            told["id"] == *task.id && told["role"] == *role,
            "{told} is not {role} of {task:?}"
        );
        ensure!(told["pod"]["name"] == "web" && told["pod"]["namespace"] == "shop", "{told}");
        ensure!(told["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000), "{told}");
    }
    ensure!(shim["id"] == "ps-pod" && one["name"] == "one", "{shim} {one}");
    ends(native, KILL, 137)?;
    ends(guest, KILL, 137)?;
    ends(pod, KILL, 137)
}

fn ended(world: &World) -> Result<()> {
    let mut task = running(world, world.guest("exit")?.args(&["7"]))?;
    ensure!(task.wait(RUN)? == 7);
    let told = || found(world, &task.id).map(|(_, container)| container);
    let is_over = || told().is_ok_and(|one| one["state"] == "stopped" && one["exit_code"] == 7);
    ensure!(until(RUN, is_over), "{:?}", told());
    task.delete()?;
    Ok(())
}

fn table(world: &World) -> Result<()> {
    let task = running(world, world.guest("sleep")?)?;
    task.says("sleeping")?;
    let told = ps(world, &["--namespace", &world.containerd.place.tag])?.ok()?.stdout;
    ensure!(told.starts_with("NAMESPACE "), "{told}");
    let lines = told.lines().filter(|line| line.contains(&task.id));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    ensure!(lines.len() == 2, "{told}");
    ensure!(lines[0][3] == "shim" && lines[1][3] == "command", "{told}");
    ensure!(lines[1][4] == task.pid.to_string(), "{told}");
    let short = &digest("sleep")?["sha256:".len()..][..12];
    ensure!(lines[1].contains(&short), "{told}");
    let nobody = ps(world, &["--namespace", "nobody"])?.ok()?.stdout;
    ensure!(nobody == "no container of Wherry runs here\n", "{nobody}");
    ends(task, KILL, 137)
}

/// Of a program that no other case runs: with a section that means nothing.
fn instances(world: &World) -> Result<()> {
    let mut bytes = fs::read(guests::path("sleep")?)?;
    bytes.extend(b"\0\x04\x03ps ");
    let image = world.pack(Recipe::program("wherry.test/ps-sleep:latest", "sleep.wasm", bytes))?;
    let run = || -> Result<Task> {
        let task = running(world, Container::of(&image))?;
        task.says("sleeping")?;
        Ok(task)
    };
    let (one, two) = (run()?, run()?);
    let (_, container) = found(world, &one.id)?;
    ensure!(container["module"]["instances"] == 2, "{container}");
    ends(one, KILL, 137)?;
    let (_, container) = found(world, &two.id)?;
    ensure!(container["module"]["instances"] == 1, "{container}");
    ends(two, KILL, 137)
}

/// Root without the capability to look into others is nobody here.
fn unprivileged(_: &World) -> Result<()> {
    let wherry = rig::programs()?.join("wherry");
    for word in ["ps", "doctor"] {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", "--"]);
        let told = command::run(command.arg(&wherry).arg(word), b"", COMMAND)?;
        ensure!(told.code == 1 && told.stdout.is_empty(), "{told}");
        let words = format!("run it as root (sudo wherry {word})");
        ensure!(told.stderr.contains(&words), "{told}");
    }
    Ok(())
}
