//! A node: a machine of its own by systemd-nspawn, with systemd, containerd, kubelet and kube-proxy. Its PID 1 is
//! the one process to kill when it ends: everything in its PID namespace ends with it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::control;
use super::files::{About, UNITS, UNWANTED};
use super::pki::{Authority, Pair, kubeconfig};
use super::registry::certificate;
use crate::command::{self, Output, kill_9, until};
use crate::place::Place;
use crate::rig;

const BOOT: Duration = Duration::from_secs(60);
/// systemd gives what ignores it a minute and a half.
const SHUTDOWN: Duration = Duration::from_secs(150);
const COMMAND: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Node {
    pub about: About,
    pub folder: PathBuf,
    /// The names of its cgroups, in every hierarchy.
    cgroup: String,
    nspawn: Mutex<Child>,
    /// Its PID 1, as the machine outside counts.
    leader: AtomicU32,
}

impl Node {
    /// Boots a node; it joins the cluster by itself then.
    pub fn start(place: &Place, authority: &Authority, about: About) -> Result<Node> {
        let folder = place.path(&format!("node-{}", about.name));
        root(place, &folder, authority, &about)?;
        let cgroup = format!("{}-{}", place.tag, about.name);
        let (nspawn, leader) = boot(place, &folder, &cgroup, &about)?;
        let (nspawn, leader) = (Mutex::new(nspawn), AtomicU32::new(leader));
        Ok(Node { about, folder, cgroup, nspawn, leader })
    }

    /// Ends it as a power failure does, and boots it again. What was on its disk is there, what was in its memory not.
    pub fn power_failure(&self, place: &Place) -> Result<()> {
        self.kill()?;
        self.again(place)
    }

    /// Ends all that runs there, in order, and boots it again. systemd-nspawn leaves that to who started it, as it is
    /// told to keep its unit.
    pub fn reboot(&self, place: &Place) -> Result<()> {
        self.run(&["systemctl", "--no-block", "reboot"])?.ok()?;
        let ended = command::wait(&mut self.nspawn.lock().expect("no holder panics"), SHUTDOWN);
        ended.with_context(|| {
            let left = self.run(&["ps", "-eo", "pid,stat,wchan:20,args"]).map(|told| told.stdout);
            format!("node {} does not end: {}", self.name(), left.unwrap_or_default())
        })?;
        self.again(place)
    }

    fn again(&self, place: &Place) -> Result<()> {
        let (nspawn, leader) = boot(place, &self.folder, &self.cgroup, &self.about)?;
        *self.nspawn.lock().expect("no holder panics") = nspawn;
        self.leader.store(leader, Ordering::Relaxed);
        Ok(())
    }

    /// Its PID 1, as the machine outside counts. Another one after each boot.
    pub fn leader(&self) -> u32 {
        self.leader.load(Ordering::Relaxed)
    }

    /// What the API knows of it, by its name.
    pub fn object(&self) -> Value {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": self.name() }})
    }

    pub fn name(&self) -> &'static str {
        self.about.name
    }

    /// A program in all namespaces of the node, which dies with us.
    pub fn command(&self, words: &[&str]) -> Command {
        let path = "PATH=/opt/runc:/opt/containerd:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "-a", "-t", &self.leader().to_string()]);
        command.args(["--", "env", "-i", path]).args(words);
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        command::run(&mut self.command(words), b"", COMMAND)
    }

    /// What a program says if all is well.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let output =
            self.run(words)?.ok().with_context(|| format!("{words:?} on {}", self.name()))?;
        Ok(output.stdout.trim_end().to_string())
    }

    /// A path as it is on the node.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader()))
    }

    /// What its daemons have said.
    pub fn log(&self, lines: usize) -> String {
        let lines = lines.to_string();
        let words =
            ["journalctl", "-q", "--no-pager", "-u", "containerd", "-u", "kubelet", "-n", &lines];
        let said = self.run(&words).map(|output| output.stdout + &output.stderr);
        format!("-- node {}\n{}", self.name(), said.unwrap_or_else(|error| format!("{error:#}")))
    }

    /// Cgroups of pods and what is below them.
    pub fn pod_cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders: Vec<PathBuf> =
            hierarchies().iter().map(|hierarchy| hierarchy.join(&self.cgroup)).collect();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // kubepods/besteffort/pod1234… or kubepods-besteffort-pod1234….slice
                    if name.starts_with("pod") || name.contains("-pod") {
                        found.push(entry.path());
                    }
                    folders.push(entry.path());
                }
            }
        }
        found
    }

    /// Ends it as a power failure does, and removes what the machine outside had of it.
    pub fn kill(&self) -> Result<()> {
        let mut nspawn = self.nspawn.lock().expect("no holder panics");
        if nspawn.try_wait()?.is_some() {
            return Ok(());
        }
        kill_9(self.leader()).with_context(|| format!("PID 1 of node {}", self.name()))?;
        command::wait(&mut nspawn, BOOT)?;
        let mut left = Vec::new();
        until(Duration::from_secs(10), || {
            left = hierarchies()
                .iter()
                .map(|at| at.join(&self.cgroup))
                .filter(|at| !gone(at))
                .collect();
            left.is_empty()
        });
        if !left.is_empty() {
            bail!("cgroups of node {} that can't be removed: {left:?}", self.name());
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// Starts the machine whose root is made; gives who started it, and its PID 1.
fn boot(place: &Place, folder: &Path, cgroup: &str, about: &About) -> Result<(Child, u32)> {
    let entering = cgroups(cgroup)?;
    let log = File::create(folder.join("console"))?;
    let mut boot = place.command("sh");
    boot.args(["-c", &format!("{entering} && exec \"$@\""), "sh", "systemd-nspawn"]);
    boot.args(nspawn(place, folder, about)?);
    boot.stdout(log.try_clone()?).stderr(log);
    let mut nspawn = command::spawn_lasting(boot)?;
    let mut leader = None;
    until(BOOT, || {
        leader = first_process(nspawn.id());
        leader.is_some() || matches!(nspawn.try_wait(), Ok(Some(_)))
    });
    let Some(leader) = leader else {
        let said = fs::read_to_string(folder.join("console")).unwrap_or_default();
        bail!("node {} does not boot:\n{said}", about.name);
    };
    Ok((nspawn, leader))
}

/// The tree of the rig, with the node's own files over it.
fn root(place: &Place, folder: &Path, authority: &Authority, about: &About) -> Result<()> {
    let tree = rig::need(&rig::root().join("node/tree"), "e2e/rig/fetch.sh cluster")?;
    let (over, root) = (folder.join("over"), folder.join("root"));
    for name in ["over", "work", "root", "containerd", "kubelet", "wherry"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for (path, content) in about.all() {
        write(&over.join(path), content.as_bytes())?;
    }
    let units = over.join("etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    for unit in UNITS {
        let name = format!("{unit}.service");
        symlink(format!("../{name}"), units.join("multi-user.target.wants").join(&name))?;
    }
    for unit in UNWANTED {
        symlink("/dev/null", units.join(unit))?;
    }
    keys(&over.join("etc/kubernetes"), authority, about)?;
    fs::copy(certificate(place), over.join("etc/containerd/certs.d/_default/ca.pem"))?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        tree.display(),
        over.display(),
        folder.join("work").display()
    );
    let mut mount = place.command("mount");
    mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&root);
    command::run(&mut mount, b"", COMMAND)?.ok()?;
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| path.display().to_string())
}

/// Who the node's programs are, to the API server.
fn keys(folder: &Path, authority: &Authority, about: &About) -> Result<()> {
    let address = about.address().to_string();
    let user = format!("system:node:{}", about.name);
    let name = |of: &str| format!("{of}-{}", about.name);
    let names = [about.name, address.as_str()];
    let kubelet = authority.issue(&name("kubelet"), &user, "system:nodes", &names)?;
    let proxy = authority.issue(&name("proxy"), "system:kube-proxy", "", &[])?;
    fs::copy(authority.certificate(), folder.join("ca.crt"))?;
    for (of, pair) in [("kubelet", kubelet), ("proxy", proxy)] {
        fs::copy(pair.certificate, folder.join(format!("{of}.crt")))?;
        fs::copy(pair.key, folder.join(format!("{of}.key")))?;
        let there = |ending| PathBuf::from(format!("/etc/kubernetes/{of}.{ending}"));
        let pair = Pair { certificate: there("crt"), key: there("key") };
        let config = kubeconfig(&control::server(), Path::new("/etc/kubernetes/ca.crt"), &pair);
        fs::write(folder.join(format!("{of}.conf")), config.to_string())?;
    }
    Ok(())
}

fn nspawn(place: &Place, folder: &Path, about: &About) -> Result<Vec<String>> {
    let bind = |kind: &str, from: &Path, to: &str| format!("--{kind}={}:{to}", from.display());
    let mut words = vec![
        "--boot".to_string(),
        "--quiet".into(),
        format!("--directory={}", folder.join("root").display()),
        format!("--machine={}-{}", place.tag, about.name),
        format!("--hostname={}", about.name),
        // There may be no systemd outside to register with; the cgroup that it is born in is its own.
        "--register=no".into(),
        "--keep-unit".into(),
        "--network-bridge=nodes".into(),
        "--resolv-conf=off".into(),
        "--timezone=off".into(),
        "--link-journal=no".into(),
        // As much as a machine may do: it runs containers.
        "--capability=all".into(),
        "--system-call-filter=@known bpf keyctl add_key".into(),
        "--bind=/dev/kmsg".into(),
        bind("bind-ro", &about.containerd.programs()?, "/opt/containerd"),
        bind("bind-ro", &rig::runc()?, "/opt/runc"),
        bind("bind-ro", &control::program()?, "/opt/kube"),
        // What must not lie on an overlay, because it makes overlays or files without a name.
        bind("bind", &folder.join("containerd"), "/var/lib/containerd"),
        bind("bind", &folder.join("kubelet"), "/var/lib/kubelet"),
        bind("bind", &folder.join("wherry"), "/var/lib/wherry"),
    ];
    let programs: &[&str] = if about.wherry { &rig::PROGRAMS } else { &[] };
    for program in programs {
        let to = format!("/usr/local/bin/{program}");
        words.push(bind("bind-ro", &rig::programs()?.join(program), &to));
    }
    Ok(words)
}

/// Where cgroups of the machine are: version 2 alone, or the hierarchies of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_path_buf()];
    }
    let Ok(all) = fs::read_dir(root) else { return Vec::new() };
    let folders = all.flatten().filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|one| one.path()).filter(|at| at.join("cgroup.procs").exists()).collect()
}

/// Makes a cgroup of this name in every hierarchy, and says the words of a shell that enter them. systemd-nspawn
/// would otherwise make its groups at the root of each.
fn cgroups(name: &str) -> Result<String> {
    let mut words = Vec::new();
    for hierarchy in hierarchies() {
        let own = hierarchy.join(name);
        fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
        // Those of a new cpuset are none.
        for kind in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read(hierarchy.join(kind)) {
                fs::write(own.join(kind), all)?;
            }
        }
        words.push(format!("echo $$ > {}/cgroup.procs", own.display()));
    }
    Ok(words.join(" && "))
}

/// Removes a cgroup with all below it, if nobody is in them; says whether it is gone.
fn gone(cgroup: &Path) -> bool {
    for below in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            gone(&below.path());
        }
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

/// The process that is PID 1 to itself, below this one.
fn first_process(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let is_first = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let spaces =
            status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let mut numbers = spaces.split_whitespace();
        numbers.next().is_some() && numbers.next_back() == Some("1")
    };
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_first)
}
