//! One sandbox for one test, as `ctr run` would ask for it, and a guest that reports.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oci_spec::runtime::{Hooks, LinuxDevice, LinuxNamespaceType as Kind};
use rustix::event::{PollFd, PollFlags, Timespec};
use wherry_core::plan::{self, Mount, MountFlags, MountWhat, Namespace, Propagation, Recursive};
use wherry_sandbox::cgroup::{Cgroup, Hierarchies};
use wherry_sandbox::hooks::{State, Status};
use wherry_sandbox::spawn::{Child, spawn};
use wherry_sandbox::wire::{Setup, SetupFds, ToGuest, ToShim};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A container to be, and after [`Rig::create`] one that waits for its start.
pub(crate) struct Rig {
    pub(crate) sandbox: plan::Sandbox,
    pub(crate) hooks: Hooks,
    pub(crate) resources: Option<oci_spec::runtime::LinuxResources>,
    pub(crate) rootfs: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) preopens: Vec<plan::Preopen>,
}

pub(crate) struct Created {
    pub(crate) child: Child,
    pub(crate) cgroup: Cgroup,
    output: File,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        assert!(rustix::process::geteuid().is_root(), "sandboxes need root: run the tests as root");
        let rootfs = tempfile::Builder::new().prefix("wherry-root").tempdir().unwrap();
        for folder in ["etc", "tmp", "proc", "sys", "dev", "data"] {
            fs::create_dir(rootfs.path().join(folder)).unwrap();
        }
        fs::write(rootfs.path().join("etc/name"), "image").unwrap();
        let id = format!(
            "wherry-test-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let sandbox = sandbox(rootfs.path().canonicalize().unwrap());
        Rig {
            sandbox,
            hooks: Hooks::default(),
            resources: None,
            rootfs,
            id,
            terminal: None,
            preopens: Vec::new(),
        }
    }

    pub(crate) fn mount(&mut self, mount: Mount) -> &mut Rig {
        self.sandbox.mounts.push(mount);
        self
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.rootfs.path().join(path)
    }

    /// Up to `Ready`, or why not.
    pub(crate) fn create(&self, commands: &[&str]) -> Result<Created, String> {
        self.create_below(Hierarchies::of_this_node().unwrap(), commands)
    }

    pub(crate) fn create_below(
        &self,
        hierarchies: &Hierarchies,
        commands: &[&str],
    ) -> Result<Created, String> {
        let plan = plan::Cgroup {
            place: plan::CgroupPlace::Path(format!("/{}", self.id).into()),
            resources: self.resources.clone(),
            devices: Vec::new(),
        };
        let cgroup = Cgroup::create_in(hierarchies, &plan).map_err(|e| e.sentence())?;
        let created = self.create_in(&cgroup, commands);
        match created {
            Ok((child, output)) => Ok(Created { child, cgroup, output }),
            Err(why) => {
                cgroup.delete().unwrap();
                Err(why)
            }
        }
    }

    fn create_in(&self, cgroup: &Cgroup, commands: &[&str]) -> Result<(Child, File), String> {
        let program = File::open(env!("CARGO_BIN_EXE_wherry-sandbox-probe")).unwrap();
        let mut child = spawn(&program, vec![c"probe".into()], &self.sandbox, cgroup)
            .map_err(|e| e.sentence())?;
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let null =
            || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        let sources = std::mem::take(&mut child.sources);
        let fds = SetupFds {
            code: null(),
            stdin: self.terminal.as_ref().map_or_else(null, |t| t.try_clone().unwrap()),
            stdout: write,
            stderr: null(),
            memory: None,
            sources,
        };
        child.channel.send_setup(self.setup(&child, commands), &fds).unwrap();
        drop(fds);
        loop {
            wait_readable(&child.channel);
            match child.channel.receive::<ToShim>().unwrap() {
                Some(ToShim::Ready) => return Ok((child, File::from(read))),
                Some(ToShim::RunRuntimeHooks) => {
                    let state = self.state(&child);
                    let hooks = self.hooks.create_runtime().as_ref();
                    let answer =
                        match wherry_sandbox::hooks::run_all("createRuntime", hooks, &state) {
                            Ok(()) => ToGuest::HooksDone,
                            Err(e) => ToGuest::HooksFailed { message: e.sentence() },
                        };
                    child.channel.send(&answer, &[]).unwrap();
                }
                Some(ToShim::Refused { message }) => {
                    child.end();
                    return Err(message);
                }
                None => {
                    let mut said = String::new();
                    File::from(read).read_to_string(&mut said).unwrap();
                    child.end();
                    return Err(format!("the guest is gone: {said}"));
                }
            }
        }
    }

    fn setup(&self, child: &Child, commands: &[&str]) -> Setup {
        Setup {
            sandbox: self.sandbox.clone(),
            run: plan::Run {
                args: commands.iter().map(|c| (*c).to_owned()).collect(),
                env: Vec::new(),
                cwd: "/".into(),
                export: None,
                preopens: self.preopens.clone(),
                http_listen: ([0, 0, 0, 0], 8080).into(),
                threads: None,
                memory_limit: None,
            },
            hooks: self.hooks.clone(),
            state: self.state(child),
            profile: plan::Profile::Command,
            terminal: self.terminal.is_some(),
            memory: false,
        }
    }

    fn state(&self, child: &Child) -> State {
        State {
            oci_version: "1.2.0".into(),
            id: self.id.clone(),
            status: Status::Creating,
            pid: child.pid as i32,
            bundle: self.rootfs.path().into(),
            annotations: Default::default(),
        }
    }

    /// From nothing to the end: what the guest said, or why there was none.
    pub(crate) fn run(&self, commands: &[&str]) -> String {
        match self.create(commands) {
            Ok(created) => created.start_and_finish(),
            Err(why) => format!("refused: {why}\n"),
        }
    }
}

impl Created {
    /// A line of the process' `/proc/<pid>/status`.
    pub(crate) fn status(&self, key: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.pid)).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{key}:")));
        line.unwrap_or("(no such line)").trim().replace('\t', " ")
    }

    pub(crate) fn namespace(&self, name: &str) -> PathBuf {
        fs::read_link(format!("/proc/{}/ns/{name}", self.child.pid)).unwrap()
    }

    pub(crate) fn start_and_finish(mut self) -> String {
        self.child.channel.send(&ToGuest::Start, &[]).unwrap();
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        wait_readable(&self.child.pidfd);
        self.finish();
        said
    }

    /// Kills what is left and proves that nothing remains.
    pub(crate) fn finish(self) {
        let (pid, folders) = (self.child.pid, self.cgroup.locator().folders.clone());
        drop(self);
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "{pid} is still there");
        for folder in folders {
            assert!(!folder.path.exists(), "{} is still there", folder.path.display());
        }
    }
}

/// Also when a test fails half-way.
impl Drop for Created {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        self.child.end();
        if let Err(error) = self.cgroup.delete() {
            eprintln!("{}", error.sentence());
        }
    }
}

/// Ten seconds are for ever on the busiest machine; a test that hangs helps nobody.
pub(crate) fn wait_readable(fd: impl AsFd) {
    let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
    let ready = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "nothing came within 10 s");
}

/// The v2 hierarchy of this node: where a node of v1 has it beside, it has no controllers, but
/// everything else.
pub(crate) fn unified() -> Hierarchies {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    let found = places.into_iter().find(|p| p.join("cgroup.controllers").exists());
    Hierarchies::Unified(found.expect("no cgroup v2 hierarchy is mounted on this node"))
}

pub(crate) fn bind(source: impl Into<PathBuf>, destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        what: MountWhat::Bind { source: source.into(), recursive: Recursive::Yes },
        flags: MountFlags::default(),
        recursive: MountFlags::default(),
        propagation: Some((Propagation::Private, Recursive::Yes)),
        data: String::new(),
        copy_up: false,
        idmap: None,
    }
}

pub(crate) fn filesystem(kind: &str, destination: &str, flags: u64, data: &str) -> Mount {
    Mount {
        destination: destination.into(),
        what: MountWhat::Filesystem { kind: kind.into(), source: kind.into() },
        flags: MountFlags { set: flags, clear: 0 },
        recursive: MountFlags::default(),
        propagation: None,
        data: data.into(),
        copy_up: false,
        idmap: None,
    }
}

/// What containerd's `oci.WithDefaultSpec` asks for.
fn sandbox(rootfs: PathBuf) -> plan::Sandbox {
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let new = |kind| Namespace { kind, path: None };
    let caps: Vec<String> =
        ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_BIND_SERVICE"].map(str::to_owned).into();
    plan::Sandbox {
        rootfs,
        rootfs_readonly: false,
        rootfs_propagation: None,
        namespaces: [Kind::Pid, Kind::Ipc, Kind::Uts, Kind::Mount, Kind::Network].map(new).into(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        mounts: vec![
            filesystem("proc", "/proc", quiet, ""),
            filesystem(
                "tmpfs",
                "/dev",
                libc::MS_NOSUID | libc::MS_STRICTATIME,
                "mode=755,size=65536k",
            ),
            filesystem(
                "devpts",
                "/dev/pts",
                libc::MS_NOSUID | libc::MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620,gid=5",
            ),
            filesystem("tmpfs", "/dev/shm", quiet, "mode=1777,size=65536k"),
            filesystem("mqueue", "/dev/mqueue", quiet, ""),
            filesystem("sysfs", "/sys", quiet | libc::MS_RDONLY, ""),
            filesystem(
                "tmpfs",
                "/run",
                libc::MS_NOSUID | libc::MS_STRICTATIME,
                "mode=755,size=65536k",
            ),
        ],
        devices: devices(),
        masked_paths: [
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
            "/proc/scsi",
        ]
        .map(PathBuf::from)
        .into(),
        readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            .map(PathBuf::from)
            .into(),
        hostname: Some("inside".into()),
        domainname: None,
        sysctl: Default::default(),
        rlimits: vec![plan::Rlimit { name: "RLIMIT_NOFILE".into(), soft: 1024, hard: 1024 }],
        user: plan::User::default(),
        capabilities: plan::Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Default::default()
        },
        no_new_privileges: true,
        seccomp: None,
        apparmor_profile: None,
        selinux_label: None,
        selinux_mount_label: None,
        oom_score_adj: None,
        cwd: "/".into(),
    }
}

fn devices() -> Vec<LinuxDevice> {
    let all = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let device = |(name, major, minor)| {
        serde_json::from_value(serde_json::json!({
            "path": format!("/dev/{name}"), "type": "c", "major": major, "minor": minor,
            "fileMode": 0o666, "uid": 0, "gid": 0
        }))
        .unwrap()
    };
    all.map(device).into()
}
