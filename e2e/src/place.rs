//! A place of its own for a daemon: a mount namespace with a fresh `/run` and `/var/lib/wherry`.
//!
//! Two suites can run side by side, the compiled code of one is unknown to the other, and whatever is left
//! behind is left in here, where [`crate::leaks`] finds it. The namespace is held by a process that waits
//! for the end of its stdin, so it goes when we go, however we go. Docker gets a network namespace too, in which
//! it may make its bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::command::until;

/// Whose network a place has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Machine,
    Own,
}

#[derive(Debug)]
pub struct Place {
    keeper: Child,
    /// Present inside and outside under the same path.
    folder: TempDir,
    /// Mounts that were there before any daemon.
    before: BTreeSet<String>,
    network: Network,
    /// In names of namespaces and thereby of cgroups, so that all of ours are found again.
    pub tag: String,
}

impl Place {
    pub fn new(network: Network) -> Result<Place> {
        if !rustix::process::geteuid().is_root() {
            bail!("this needs root: it mounts, and starts a private containerd");
        }
        let folder = tempfile::Builder::new().prefix("wherry-e2e-").tempdir()?;
        let wherry = folder.path().join("wherry");
        fs::create_dir(&wherry)?;
        fs::create_dir_all("/var/lib/wherry")?;
        // systemd is the machine's, and is asked and looked for in there: from the old /run, which stays our folder
        // below the new one.
        let script = format!(
            "cd /run && mount -t tmpfs -o mode=755 tmpfs /run && for one in systemd dbus; do \
             [ ! -d $one ] || {{ mkdir /run/$one && mount -c --bind $one /run/$one; }} || exit; done && \
             cd / && mount --bind {} /var/lib/wherry && echo ready && exec cat",
            wherry.display()
        );
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args((network == Network::Own).then_some("--net"))
            .args(["--", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare (util-linux)")?;
        let mut ready = [0; 6];
        let told = keeper.stdout.as_mut().map(|out| std::io::Read::read_exact(out, &mut ready));
        if !matches!(told, Some(Ok(()))) {
            bail!("a private mount namespace could not be made: {:?}", keeper.wait());
        }
        let tag = format!("e2e-{}", keeper.id());
        let before = mounts(keeper.id()).into_keys().collect();
        Ok(Place { keeper, folder, before, network, tag })
    }

    /// A folder of ours, the same inside and outside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path as it is inside: `/run/…` of the place, not of the machine.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.keeper.id()))
    }

    /// A program to be run inside, which dies with us.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "-m", "-t", &self.keeper.id().to_string()]);
        command.args((self.network == Network::Own).then_some("-n"));
        command.arg("--").arg(program);
        command
    }

    /// A daemon to be run inside. Whatever comes of it, with or without its environment, its arguments and its
    /// mounts, stays in a cgroup that is named by our tag.
    pub fn daemon(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let cgroup = hierarchy().join(format!("{}-daemons", self.tag));
        fs::create_dir_all(&cgroup).with_context(|| cgroup.display().to_string())?;
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.display());
        let mut command = self.command("sh");
        command.args(["-c", &script, "sh"]).arg(program);
        Ok(command)
    }

    /// The daemons and whatever has come of them, but for what runs in cgroups of its own.
    pub fn daemons(&self) -> Vec<u32> {
        let procs = hierarchy().join(format!("{}-daemons", self.tag)).join("cgroup.procs");
        let all = fs::read_to_string(procs).unwrap_or_default();
        all.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The keeper's process, whose mount namespace is the place.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Mount points inside that have come since the place was made.
    pub fn new_mounts(&self) -> Vec<String> {
        let now = mounts(self.pid());
        now.into_iter().filter(|(id, _)| !self.before.contains(id)).map(|(_, at)| at).collect()
    }
}

/// The cgroup hierarchy that nobody limits anything in, if there is one: version 2 beside version 1.
fn hierarchy() -> &'static Path {
    let all: [&'static str; 3] =
        ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
    let found = all.into_iter().map(Path::new).find(|path| path.join("cgroup.procs").exists());
    found.unwrap_or(Path::new("/sys/fs/cgroup"))
}

/// Mount points by mount id, of the mount namespace of a process.
fn mounts(pid: u32) -> BTreeMap<String, String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let fields = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_string(), words.nth(3)?.to_string()))
    };
    table.lines().filter_map(fields).collect()
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let gone = until(Duration::from_secs(5), || matches!(self.keeper.try_wait(), Ok(Some(_))));
        if !gone {
            self.keeper.kill().ok();
            self.keeper.wait().ok();
        }
        // Left alone if somebody is still in it.
        fs::remove_dir(hierarchy().join(format!("{}-daemons", self.tag))).ok();
    }
}
