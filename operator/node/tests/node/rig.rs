//! A node in a mount namespace of its own: a root folder with the machine's `/usr`, a containerd, and who restarts it.
//! Its processes end with the value; the namespace ends with the process that holds it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wherry_report::{Order, Report};

use crate::image;

pub(crate) const RELEASES: [&str; 3] = ["1.7", "2.1", "2.4"];

fn folder(variable: &str, default: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/wherry");
    std::env::var_os(variable).map_or_else(|| home().join(default), PathBuf::from)
}

fn need(path: PathBuf, how: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run {how}", path.display());
    path
}

#[derive(Debug)]
pub(crate) struct Mini {
    keeper: Child,
    folder: TempDir,
}

/// What is in the way of a mount namespace: everything else is as on the machine.
const MAKE: &str = r#"set -e
cd "$1"; mount --bind . .; cd "$1"
mkdir -p usr etc/containerd opt run var/lib tmp proc sys dev agent programs rig runc old
for link in bin sbin lib lib64; do [ -e "/usr/$link" ] && ln -s "usr/$link" "$link"; done
ln -s /run var/run
for one in usr proc sys dev; do mount --rbind "/$one" "$one"; done
mount -t tmpfs tmpfs run
mount --bind "$2" rig; mount --bind "$3" runc; mount --bind "$4" agent
pivot_root . old
umount -l old && rmdir old
echo ready
exec cat
"#;

/// As an init system would, for as little.
const RESTART: &str = r#"#!/bin/sh
if [ -e /run/pid ]; then
    kill "$(cat /run/pid)"
    while kill -0 "$(cat /run/pid)" 2>/dev/null; do sleep 0.02; done
fi
PATH=/rig:/runc:/usr/sbin:/usr/bin /rig/containerd </dev/null >>/run/log 2>&1 &
echo $! >/run/pid
"#;

impl Mini {
    pub(crate) fn start(release: &str, configuration: &str) -> Mini {
        Mini::with(release, Some(configuration))
    }

    /// With containerd's main file, or without one, as packages of containerd 1.7 come.
    pub(crate) fn with(release: &str, configuration: Option<&str>) -> Mini {
        assert!(rustix::process::geteuid().is_root(), "this needs root: it mounts");
        let rig = folder("WHERRY_RIG", "rig");
        let place = match release {
            "1.7" => "debian/trixie/root/usr/bin",
            "2.1" => "debian/sid/root/usr/bin",
            _ => "containerd-2.4",
        };
        let containerd = need(rig.join(place), "e2e/rig/fetch.sh containerd");
        let runc = need(rig.join("runc"), "e2e/rig/fetch.sh containerd");
        let agent = Path::new(env!("CARGO_BIN_EXE_wherry-node")).parent().expect("a folder");
        let folder = tempfile::Builder::new().prefix("wherry-node-").tempdir().expect("a folder");
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", MAKE, "sh"])
            .args([folder.path(), &containerd, &runc, agent])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux)");
        let mut ready = [0; 6];
        let told = keeper.stdout.as_mut().expect("a pipe").read_exact(&mut ready);
        told.expect("a mount namespace");
        let node = Mini { keeper, folder };
        node.programs();
        match configuration {
            Some(text) => node.write("etc/containerd/config.toml", text),
            None => fs::remove_dir(node.path("etc/containerd")).expect("an empty folder"),
        }
        // What CRI gives to a pod of the node's network.
        node.write("etc/hosts", "127.0.0.1 localhost\n");
        node.write("etc/resolv.conf", "");
        node.write("restart", RESTART);
        let restart = node.path("restart");
        fs::set_permissions(restart, fs::Permissions::from_mode(0o755)).expect("a script");
        image::write(&node.path("images.tar"));
        node.restart();
        node.run(&["/rig/ctr", "-n", "k8s.io", "images", "import", "/images.tar"]);
        node
    }

    /// The file of the node, as a path of the machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/{path}", self.keeper.id()))
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).expect("a file of the node");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a file of the node")
    }

    pub(crate) fn folder(&self, path: &str) {
        fs::create_dir_all(self.path(path)).expect("a folder of the node");
    }

    /// Has containerd started again, by who does it on this node.
    pub(crate) fn restart(&self) {
        self.run(&["/restart"]);
        self.until(Mini::answers);
    }

    fn answers(&self) -> bool {
        self.try_run(&["/rig/ctr", "-n", "k8s.io", "version"]).status.success()
    }

    fn programs(&self) {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let release = format!("{}-unknown-linux-musl/release", std::env::consts::ARCH);
        let default =
            target.map_or_else(|| format!("target/{release}").into(), |it| it.join(&release));
        let from = std::env::var_os("WHERRY_PROGRAMS").map_or(default, PathBuf::from);
        for name in ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wasmbox.wasm"] {
            let program = need(from.join(name), "make programs");
            fs::copy(program, self.path("programs").join(name)).expect("a program");
        }
    }

    /// Programs that do the same, and are not the same.
    pub(crate) fn other_programs(&self) {
        let program = self.path("programs/wherry");
        let mut program = fs::OpenOptions::new().append(true).open(program).expect("a program");
        program.write_all(b"\n").expect("one byte more");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.keeper.id().to_string(), "--"]).args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin");
        command
    }

    fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().expect("nsenter (util-linux)")
    }

    pub(crate) fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("run/log")).unwrap_or_default();
        let from = log.lines().count().saturating_sub(20);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    fn agent_command(&self, words: &[&str]) -> Command {
        let place =
            ["--restart-with", "/restart", "--report", "/report", "--smoke", "wherry.test/smoke:1"];
        // What comes later wins.
        self.command(&[&["/agent/wherry-node"], &place[..], words].concat())
    }

    /// Runs the agent to its end, and returns what it reports.
    pub(crate) fn agent(&self, words: &[&str]) -> Report {
        self.told(words, self.agent_command(words).output().expect("nsenter"))
    }

    /// As [`Mini::agent`], with the node's file system in a folder: there is none of it, and nothing of ours there.
    pub(crate) fn agent_from_outside(&self, words: &[&str]) -> Report {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_wherry-node"));
        agent.arg("--host-root").arg(self.path("")).arg("--programs").arg(self.path("programs"));
        agent.args(["--smoke", "wherry.test/smoke:1"]).args(words);
        self.told(words, agent.output().expect("the agent"))
    }

    fn told(&self, words: &[&str], output: Output) -> Report {
        let (said, log) = (String::from_utf8_lossy(&output.stdout), self.log());
        let complaint = String::from_utf8_lossy(&output.stderr);
        let report = Report::parse(&said);
        let report = report.unwrap_or_else(|_| panic!("{words:?}: {said}{complaint}\n{log}"));
        let code = i32::from(report.outcome.exit_code());
        assert_eq!(output.status.code(), Some(code), "{report:#?}");
        report
    }

    /// As [`Mini::agent`], by an order of the operator's.
    pub(crate) fn order(&self, order: &Order) -> Report {
        let mut agent = self.agent_command(&[]);
        let output = agent.env(wherry_report::ORDER_VARIABLE, order.text()).output();
        self.told(&[&order.text()], output.expect("nsenter"))
    }

    /// Runs the agent, and has it killed at this step. Whether it came so far.
    pub(crate) fn killed_at(&self, step: u32, words: &[&str]) -> bool {
        let ended = self.killed_or(step, words);
        assert!(ended.as_ref().is_none_or(|output| output.status.success()), "{ended:?}");
        ended.is_none()
    }

    /// As [`Mini::killed_at`], of work that need not come to a good end: what it says if it ends.
    pub(crate) fn killed_or(&self, step: u32, words: &[&str]) -> Option<Output> {
        let mut command = self.agent_command(words);
        let output =
            command.env("WHERRY_NODE_KILL_AT", step.to_string()).output().expect("nsenter");
        match output.status.signal() {
            Some(9) => None,
            Some(other) => panic!("signal {other}"),
            None => Some(output),
        }
    }

    pub(crate) fn guard(&self) {
        self.run(&["/agent/wherry-node", "guard"]);
    }

    /// How far the work has come that the journal is of, if there is one.
    pub(crate) fn stage(&self) -> Option<String> {
        let journal = fs::read(self.path("opt/wherry/transaction/journal.json")).ok()?;
        let journal: serde_json::Value = serde_json::from_slice(&journal).expect("a journal");
        Some(journal["stage"].as_str().expect("a stage").to_owned())
    }

    /// What containerd would read.
    pub(crate) fn dump(&self) -> String {
        self.run(&["/rig/containerd", "config", "dump"])
    }

    /// The daemon's pid.
    pub(crate) fn daemon(&self) -> String {
        self.read("run/pid")
    }

    pub(crate) fn revisions(&self) -> usize {
        fs::read_dir(self.path("opt/wherry/rev")).expect("revisions").count()
    }

    /// What of the node lasts and may be ours.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for part in ["etc", "opt", "var/lib/wherry", "run/wherry"] {
            tree.add(&self.path(part), part);
        }
        tree
    }

    fn until(&self, is: impl Fn(&Mini) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is(self) {
            assert!(Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Processes within: by their mount namespace.
    fn processes(&self) -> Vec<i32> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let keeper = self.keeper.id().to_string();
        let ours = namespace(&keeper);
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let inside = pids.filter(|pid| *pid != keeper && namespace(pid) == ours && ours.is_some());
        inside.filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Mini {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
        drop(fs::remove_dir_all(self.folder.path()));
    }
}

/// Files, folders and links, with what is in them and who may what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of<const N: usize>(all: [(&str, &str); N]) -> Tree {
        Tree(all.into_iter().map(|(name, what)| (name.to_owned(), what.to_owned())).collect())
    }

    fn add(&mut self, path: &Path, name: &str) {
        let Ok(meta) = path.symlink_metadata() else { return };
        let what = if meta.is_symlink() {
            format!("{:?}", fs::read_link(path))
        } else if meta.is_file() {
            String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned()
        } else if meta.is_dir() {
            for entry in fs::read_dir(path).expect("a folder").flatten() {
                let below = format!("{name}/{}", entry.file_name().to_string_lossy());
                self.add(&entry.path(), &below);
            }
            String::new()
        } else {
            // A socket, as of a trial that was cut short.
            String::new()
        };
        let (mode, user, group) = (meta.mode(), meta.uid(), meta.gid());
        self.0.insert(name.to_owned(), format!("{mode:o} {user} {group} {what}"));
    }

    pub(crate) fn within(&self, part: &str) -> Tree {
        Tree(
            self.0
                .iter()
                .filter(|(name, _)| name.starts_with(part))
                .map(|(a, b)| (a.clone(), b.clone()))
                .collect(),
        )
    }

    /// The names of what is not the same.
    pub(crate) fn difference(&self, other: &Tree) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut names: Vec<String> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}
