//! `wherry doctor` on nodes of which one is well, and each of the others has one thing wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::RwLock;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::command::{self, Output};
use wherry_e2e::containerd::{COMMAND, Containerd};
use wherry_e2e::place::Network;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::Container;
use wherry_e2e::{guests, leaks};

use crate::lifecycle::ends;

pub(crate) const CASES: &[Case] = &[
    ("doctor_finds_nothing_wrong_with_a_good_node", For::Wherry, good),
    ("doctor_tells_people_in_lines", For::Wherry, lines),
    ("doctor_names_a_handler_that_is_missing_and_writes_it", For::Wherry, no_handler),
    ("doctor_names_options_that_every_container_is_refused_for", For::Wherry, options),
    ("doctor_names_a_default_handler_that_is_missing", For::Wherry, no_default),
    ("doctor_names_a_configuration_that_containerd_refuses", For::Wherry, broken_config),
    ("doctor_names_parts_of_the_configuration_that_do_not_count", For::Wherry, unknown_key),
    ("doctor_names_a_shim_that_containerd_does_not_find", For::Wherry, no_shim),
    ("doctor_names_programs_that_do_not_belong_together", For::Wherry, programs),
    ("doctor_names_a_cache_that_cannot_be_trusted", For::Wherry, untrusted_cache),
    ("doctor_names_a_cache_that_takes_no_more", For::Wherry, shut_cache),
    ("doctor_removes_damaged_code_and_says_so", For::Wherry, damaged_cache),
    ("doctor_names_what_is_left_of_containers", For::Wherry, leftovers),
    ("doctor_names_a_shim_that_lost_its_container", For::Wherry, lost_shim),
    ("doctor_names_a_containerd_that_is_not_there", For::Wherry, no_containerd),
    ("doctor_looks_at_files_where_no_containerd_runs", For::Wherry, files_only),
];

/// With runc, which containerd 1.7 would lose.
const HANDLER: &str = r#"[plugins."CRI".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."CRI".containerd.runtimes.wherry]
runtime_type = "io.containerd.wherry.v1"
pod_annotations = ["wherry.dev/*"]
"#;

/// A containerd as of a node of Kubernetes, with these sections in which `CRI` stands for its plugin.
fn node(world: &World, folders: &[PathBuf], sections: &str) -> Result<Containerd> {
    let version = world.containerd.version;
    let node = Containerd::start(version, Runtime::Wherry, Network::Machine, folders)?;
    node.stop()?;
    write(&node, sections)?;
    node.resume()?;
    Ok(node)
}

fn write(node: &Containerd, sections: &str) -> Result<()> {
    let (number, plugin) = match node.version {
        Version::V1_7 => (2, "io.containerd.grpc.v1.cri"),
        Version::V2_1 | Version::V2_4 => (3, "io.containerd.cri.v1.runtime"),
    };
    let text = format!(
        r#"version = {number}
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."{plugin}".cni]
conf_dir = "{cni}"
{sections}"#,
        root = node.place.path("root").display(),
        state = node.place.path("state").display(),
        socket = node.socket().display(),
        cni = node.place.path("cni").display(),
        sections = sections.replace("CRI", plugin),
    );
    Ok(fs::write(node.place.path("config.toml"), text)?)
}

fn good_node(world: &World) -> Result<Containerd> {
    node(world, &[rig::programs()?], HANDLER)
}

/// It looks at the processes of the whole machine: whoever leaves some without a shim there does it alone.
static ORPHANS: RwLock<()> = RwLock::new(());

fn doctor(node: &Containerd, words: &[&str]) -> Result<Output> {
    let _none = ORPHANS.read();
    doctor_among_orphans(node, words)
}

fn doctor_among_orphans(node: &Containerd, words: &[&str]) -> Result<Output> {
    let mut command = node.place.command(rig::programs()?.join("wherry"));
    command.arg("doctor").args(words);
    command::run(&mut command, b"", COMMAND)
}

/// What it finds on the node of this containerd.
struct Findings(Value);

impl Findings {
    fn of(node: &Containerd) -> Result<Findings> {
        Findings::read(&doctor(
            node,
            &["--json", "--address", &node.socket().display().to_string()],
        )?)
    }

    fn read(told: &Output) -> Result<Findings> {
        let findings: Value =
            serde_json::from_str(&told.stdout).with_context(|| told.to_string())?;
        let failed = findings["level"] == "fail";
        ensure!(told.code == i32::from(failed), "{told}");
        Ok(Findings(findings))
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.0["findings"].as_array().into_iter().flatten()
    }

    /// This check has this level, says these words, and says what to do.
    fn has(&self, check: &str, level: &str, words: &str) -> Result<&Value> {
        let mut found = self.all().filter(|one| one["check"] == check);
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_string();
        let fits = |one: &&Value| one["level"] == level && text(one, "what").contains(words);
        let found =
            found.find(fits).with_context(|| format!("no {level} of {check}: {:#}", self.0))?;
        ensure!(level == "ok" || !text(found, "do").is_empty(), "nothing to do: {found}");
        Ok(found)
    }

    /// Nothing is wrong besides these checks.
    fn only(&self, checks: &[&str]) -> Result<()> {
        let known = |one: &&Value| checks.iter().any(|check| one["check"] == *check);
        for one in self.all().filter(|one| !known(one)) {
            ensure!(one["level"] == "ok", "{one}");
        }
        Ok(())
    }
}

fn good(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let findings = Findings::of(&node)?;
    findings.only(&[])?;
    ensure!(findings.0["level"] == "ok", "{:#}", findings.0);
    findings.has("containerd.version", "ok", node.version.name())?;
    findings.has("handler", "ok", "wherry is io.containerd.wherry.v1")?;
    findings.has("handler.loaded", "ok", "wherry")?;
    let programs = rig::programs()?;
    findings.has("programs", "ok", &programs.display().to_string())?;
    // A container that runs is nothing to find.
    let image = world.image("sleep")?;
    node.import(&image)?;
    let task = Container::of(&image).create(&node)?;
    task.start()?;
    Findings::of(&node)?.only(&[])?;
    ends(task, 9, 137)?;
    leaks::after(&node)
}

fn lines(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let address = format!("unix://{}", node.socket().display());
    let told = doctor(&node, &["--address", &address])?.ok()?;
    ensure!(told.stdout.ends_with("\nall is well\n"), "{told}");
    ensure!(told.stdout.contains("\nok    handler "), "{told}");
    Ok(())
}

/// What it says to write makes the handler, with a restart, and not before.
fn no_handler(world: &World) -> Result<()> {
    let node = node(world, &[rig::programs()?], "")?;
    let findings = Findings::of(&node)?;
    let missing = findings.has("handler", "fail", "no handler for Wherry")?;
    findings.only(&["handler"])?;
    let todo = missing["do"].as_str().unwrap_or_default();
    let is_toml = |line: &&str| {
        line.starts_with('[') || line.contains("_type = ") || line.starts_with("pod_")
    };
    let sections: Vec<&str> = todo.lines().filter(is_toml).collect();
    ensure!(sections.len() >= 3, "{todo}");
    write(&node, &sections.join("\n"))?;
    let findings = Findings::of(&node)?;
    findings.has("handler", "ok", "wherry")?;
    findings.has("handler.loaded", "fail", "does not know it")?;
    node.stop()?;
    node.resume()?;
    Findings::of(&node)?.only(&[])
}

fn options(world: &World) -> Result<()> {
    let options = "[plugins.\"CRI\".containerd.runtimes.wherry.options]\ncache_dri = \"/x\"\n";
    let node = node(world, &[rig::programs()?], &format!("{HANDLER}{options}"))?;
    let findings = Findings::of(&node)?;
    findings.has("handler.options", "fail", "unknown field `cache_dri`")?;
    findings.only(&["handler.options"])
}

/// containerd starts, and says that it booted successfully.
fn no_default(world: &World) -> Result<()> {
    let default = "[plugins.\"CRI\".containerd]\ndefault_runtime_name = \"none\"\n";
    let node = node(world, &[rig::programs()?], &format!("{default}{HANDLER}"))?;
    let findings = Findings::of(&node)?;
    findings.has("handler.default", "fail", "none")?;
    findings.has("handler.loaded", "fail", "CRI plugin does not answer")?;
    findings.only(&["handler.default", "handler.loaded"])
}

fn broken_config(world: &World) -> Result<()> {
    let node = good_node(world)?;
    write(&node, "[plugins")?;
    let findings = Findings::of(&node)?;
    findings.has("containerd.config", "fail", "will not start again")?;
    findings.has("containerd.running", "ok", "containerd").map(drop)
}

/// containerd 1.7 says nothing of them.
fn unknown_key(world: &World) -> Result<()> {
    let node = node(world, &[rig::programs()?], &format!("{HANDLER}runtime_pathh = \"/x\"\n"))?;
    let findings = Findings::of(&node)?;
    match node.version {
        Version::V1_7 => findings.only(&[]),
        Version::V2_1 | Version::V2_4 => {
            findings.has("containerd.config", "warn", "runtime_pathh")?;
            findings.only(&["containerd.config"])
        }
    }
}

fn no_shim(world: &World) -> Result<()> {
    let node = node(world, &[], HANDLER)?;
    let findings = Findings::of(&node)?;
    findings.has("programs", "fail", "containerd does not find the shim of the handler wherry")?;
    findings.only(&["programs"])
}

fn programs(world: &World) -> Result<()> {
    let folder = world.folder("doctor-programs")?;
    for name in rig::PROGRAMS {
        fs::copy(rig::programs()?.join(name), folder.join(name))?;
    }
    fs::remove_file(folder.join("wasmbox.wasm"))?;
    fs::write(folder.join("wherry-guest"), "another")?;
    let node = node(world, &[folder], HANDLER)?;
    let findings = Findings::of(&node)?;
    findings.has("programs", "fail", "wasmbox.wasm is not beside the shim")?;
    findings.has("programs", "fail", "wherry-guest can't be used")?;
    findings.only(&["programs"])
}

fn cache(node: &Containerd) -> PathBuf {
    node.place.path("wherry/cache")
}

fn untrusted_cache(world: &World) -> Result<()> {
    let node = good_node(world)?;
    Findings::of(&node)?.has("cache", "ok", "not there yet")?;
    fs::create_dir(cache(&node))?;
    fs::set_permissions(cache(&node), fs::Permissions::from_mode(0o777))?;
    let findings = Findings::of(&node)?;
    findings.has("cache", "fail", "is writable by others")?;
    findings.only(&["cache"])
}

/// What is compiled would start, and nothing else would.
fn shut_cache(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let on_cache = |words: &[&str]| {
        let mut command = node.place.command(words[0]);
        command.args(&words[1..]).arg("/var/lib/wherry/cache");
        command::run(&mut command, b"", COMMAND)?.ok()
    };
    fs::create_dir(cache(&node))?;
    let file_systems = [
        ("ro,mode=700", "read-only"),
        ("nr_inodes=1,mode=700", "no more files"),
        ("size=4k,mode=700", "full"),
    ];
    for (options, words) in file_systems {
        on_cache(&["mount", "-t", "tmpfs", "-o", options, "tmpfs"])?;
        let findings = Findings::of(&node);
        on_cache(&["umount"])?;
        let findings = findings?;
        findings.has("cache", "fail", words)?;
        findings.only(&["cache"])?;
    }
    Findings::of(&node)?.has("cache", "ok", "0 sound").map(drop)
}

fn damaged_cache(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let mut warm = node.place.command(rig::programs()?.join("wherry"));
    warm.args(["cache", "warm"]).arg(guests::path("hello")?);
    command::run(&mut warm, b"", COMMAND)?.ok()?;
    Findings::of(&node)?.has("cache", "ok", "1 sound")?;
    let engine = fs::read_dir(cache(&node))?.next().context("an engine")??.path();
    let mut files = fs::read_dir(engine)?.flatten().map(|entry| entry.path());
    let code =
        files.find(|path| path.extension().is_some_and(|end| end == "cwasm")).context("code")?;
    let mut bytes = fs::read(&code)?;
    let last = bytes.last_mut().context("empty")?;
    *last = !*last;
    fs::set_permissions(&code, fs::Permissions::from_mode(0o600))?;
    fs::write(&code, bytes)?;
    let findings = Findings::of(&node)?;
    findings.has("cache", "warn", "1 damaged of 1")?;
    findings.only(&["cache"])?;
    Findings::of(&node)?.has("cache", "ok", "0 sound").map(drop)
}

/// The bundle of a container whose shim is dead, its root file system and its socket. A socket beside it that nobody
/// names is as runc's shims leave theirs, and no fault.
fn leftovers(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let bundle = node.bundle("dead");
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs)?;
    fs::write(bundle.join("wherry.json"), json!({ "id": "dead" }).to_string())?;
    let mount = |words: &[&str]| -> Result<()> {
        let mut command = node.place.command(words[0]);
        command::run(command.args(&words[1..]), b"", COMMAND)?.ok().map(drop)
    };
    mount(&["mount", "-t", "tmpfs", "tmpfs", &rootfs.display().to_string()])?;
    let sockets = node.place.inside("/run/containerd/s");
    fs::create_dir_all(&sockets)?;
    drop(UnixListener::bind(sockets.join("dead"))?);
    drop(UnixListener::bind(sockets.join("runc"))?);
    fs::write(bundle.join("address"), "unix:///run/containerd/s/dead")?;
    let findings = Findings::of(&node)?;
    findings.has("leftovers.bundles", "warn", "/dead")?;
    findings.has("leftovers.mounts", "warn", &bundle.display().to_string())?;
    findings.has("leftovers.sockets", "warn", "listens: /run/containerd/s/dead")?;
    findings.has("sockets.unknown", "ok", "harm: /run/containerd/s/runc")?;
    findings.only(&["leftovers.bundles", "leftovers.mounts", "leftovers.sockets"])?;
    mount(&["umount", &rootfs.display().to_string()])?;
    fs::remove_dir_all(bundle)?;
    fs::remove_file(sockets.join("dead"))?;
    let findings = Findings::of(&node)?;
    ensure!(findings.0["level"] == "ok", "{:#}", findings.0);
    findings.has("sockets.unknown", "ok", "/run/containerd/s/runc").map(drop)
}

/// containerd forgets a container whose shim's file is gone when it starts, and leaves shim and container running.
fn lost_shim(world: &World) -> Result<()> {
    let folder = world.folder("doctor-lost")?;
    for name in rig::PROGRAMS {
        fs::copy(rig::programs()?.join(name), folder.join(name))?;
    }
    let node = node(world, std::slice::from_ref(&folder), HANDLER)?;
    let image = world.image("sleep")?;
    node.import(&image)?;
    let task = Container::of(&image).create(&node)?;
    task.start()?;
    let (pid, shim) = (task.pid, leaks::shim_of(&node, &task.id).context("no shim")?);
    node.stop()?;
    fs::remove_file(folder.join("containerd-shim-wherry-v1"))?;
    node.resume()?;
    let id = task.forget();
    let findings = Findings::of(&node)?;
    findings.has("leftovers.shims", "warn", &format!("{shim} ({id})"))?;
    findings.has("programs", "fail", "containerd does not find the shim")?;
    // What it tells to do is right, for the shim and for what it leaves.
    let alone = ORPHANS.write();
    command::kill_9(shim)?;
    let socket = node.socket().display().to_string();
    let orphan = || -> Result<()> {
        let told = doctor_among_orphans(&node, &["--json", "--address", &socket])?;
        let findings = Findings::read(&told)?;
        ensure!(findings.has("leftovers.shims", "warn", "").is_err(), "{:#}", findings.0);
        findings.has("leftovers.processes", "warn", &format!("{pid} (wherry-guest)")).map(drop)
    };
    ensure!(
        command::until(COMMAND, || orphan().is_ok()),
        "{:?}",
        orphan().map_err(|e| e.to_string())
    );
    command::kill_9(pid)?;
    drop(alone);
    let clean = || Findings::of(&node)?.only(&["programs"]);
    ensure!(
        command::until(COMMAND, || clean().is_ok()),
        "{:?}",
        clean().map_err(|e| e.to_string())
    );
    Ok(())
}

fn no_containerd(world: &World) -> Result<()> {
    let node = good_node(world)?;
    let told = doctor(&node, &["--json", "--address", "/run/none.sock"])?;
    let findings = Findings::read(&told)?;
    findings.has("containerd.running", "fail", "/run/none.sock")?;
    findings.has("kernel.version", "ok", "Linux").map(drop)
}

fn files_only(world: &World) -> Result<()> {
    let node = good_node(world)?;
    node.stop()?;
    let config = node.place.path("config.toml");
    let mut command = node.place.command(rig::programs()?.join("wherry"));
    command.args(["doctor", "--json", "--config"]).arg(&config).env("PATH", node.search_path());
    let none = ORPHANS.read();
    let findings = Findings::read(&command::run(&mut command, b"", COMMAND)?)?;
    drop(none);
    findings.has("containerd.running", "fail", "does not run")?;
    findings.has("handler", "ok", "wherry is io.containerd.wherry.v1")?;
    findings.only(&["containerd.running"])
}
