//! containerd with its CRI plugin, a network of its own for pods, and pods on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wherry_e2e::command::{self, until};
use wherry_e2e::containerd::{COMMAND, Containerd};
use wherry_e2e::cri::{
    CONTAINER, ContainerConfig, ContainerMetadata, ContainerSecurity, Cri, Dns, Image,
    LinuxContainer, LinuxPod, Namespaces, PodConfig, PodMetadata, PodSecurity,
};
use wherry_e2e::image::{Form, Recipe};
use wherry_e2e::leaks;
use wherry_e2e::place::Network;
use wherry_e2e::recipes;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::Ground;

/// CRI's one namespace.
const NAMESPACE: &str = "k8s.io";

/// How long a pod may take to go.
const SETTLE: Duration = Duration::from_secs(20);

/// The address that every pod is told to have: no pod of these cases is talked to.
pub(crate) const ADDRESS: &str = "10.22.0.7";

#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) containerd: Containerd,
    cri: Mutex<Option<Cri>>,
    names: AtomicU32,
}

impl Daemon {
    pub(crate) fn start() -> Result<Daemon> {
        let (version, runtime) = (Version::chosen()?, Runtime::chosen()?);
        let ours = match runtime {
            Runtime::Wherry => vec![rig::programs()?],
            Runtime::Runc => Vec::new(),
        };
        let containerd = Containerd::start_as(version, runtime, Network::Own, &ours, config)?;
        let daemon = Daemon { containerd, cri: Mutex::default(), names: AtomicU32::new(0) };
        daemon.network()?;
        daemon.ready()?;
        let pause = fs::read(rig::busybox()?)?;
        let pause = Recipe::program("wherry.test/pause:1", "bin/busybox", pause);
        daemon.import(pause.entrypoint(&["/bin/busybox", "sleep", "1000000"]))?;
        daemon.import(recipes::toolbox(runtime)?)?;
        daemon.import(recipes::native_toolbox()?)?;
        daemon.import(recipes::guest(runtime, "sleep", Form::Linux)?)?;
        daemon.import(recipes::guest(Runtime::Wherry, "http-p2", Form::Linux)?)?;
        Ok(daemon)
    }

    fn import(&self, recipe: Recipe) -> Result<()> {
        let name = format!("image-{}.tar", self.names.fetch_add(1, Ordering::Relaxed));
        let image = recipe.pack(&self.containerd.place.path(&name))?;
        let tar = image.tar.display().to_string();
        let mut words = vec!["images", "import", "--all-platforms", &tar];
        if self.containerd.version != Version::V1_7 {
            words.insert(2, "--local");
        }
        let mut import = self.containerd.ctr_in(NAMESPACE, &words);
        command::run(&mut import, b"", COMMAND)?.ok()?;
        Ok(())
    }

    /// A CNI plugin that only says what it was wanted to do (CNI 1.0.0, "Section 2"); and a loopback, on which
    /// containerd answers whoever execs, attaches and forwards.
    fn network(&self) -> Result<()> {
        let place = &self.containerd.place;
        command::run(place.command("ip").args(["link", "set", "lo", "up"]), b"", COMMAND)?.ok()?;
        let (programs, configs) = (place.path("cni-bin"), place.path("cni-conf"));
        fs::create_dir_all(&programs)?;
        fs::create_dir_all(&configs)?;
        let result = format!(
            r#"{{"cniVersion": "1.0.0", "interfaces": [{{"name": "eth0", "sandbox": "here"}}],
            "ips": [{{"address": "{ADDRESS}/16", "interface": 0}}]}}"#
        );
        let tell = format!("cat >/dev/null\n[ \"$CNI_COMMAND\" != ADD ] || echo '{result}'\n");
        // 1.7 does by a plugin what newer ones do themselves.
        let up = r#"[ "$CNI_COMMAND" != ADD ] || nsenter --net="$CNI_NETNS" ip link set lo up"#;
        for (name, first) in [("tell", ":"), ("loopback", up)] {
            let plugin = programs.join(name);
            fs::write(&plugin, format!("#!/bin/sh\n{first}\n{tell}"))?;
            fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755))?;
        }
        let list = r#"{"cniVersion": "1.0.0", "name": "tell", "plugins": [{"type": "tell"}]}"#;
        fs::write(configs.join("10-tell.conflist"), list)?;
        Ok(())
    }

    /// Connects to CRI, which is there some time after the daemon.
    pub(crate) fn ready(&self) -> Result<()> {
        let socket = self.containerd.socket();
        let mut last = String::new();
        let connected = until(SETTLE, || {
            let connected = Cri::connect(&socket).and_then(|cri| cri.version().map(|()| cri));
            match connected {
                Ok(cri) => *self.cri.lock().expect("no holder panics") = Some(cri),
                Err(error) => last = format!("{error:#}"),
            }
            self.cri.lock().expect("no holder panics").is_some()
        });
        ensure!(connected, "CRI does not answer: {last}\n{}", self.containerd.log());
        Ok(())
    }

    pub(crate) fn cri(&self) -> Cri {
        self.cri.lock().expect("no holder panics").clone().expect("the daemon is running")
    }

    pub(crate) fn restart(&self, end: fn(&Containerd) -> Result<()>) -> Result<()> {
        *self.cri.lock().expect("no holder panics") = None;
        end(&self.containerd)?;
        self.containerd.resume()?;
        self.ready()
    }

    /// What a kubelet sends for a pod that asks for nothing.
    pub(crate) fn config(&self, name: &str) -> PodConfig {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let place = &self.containerd.place;
        PodConfig {
            metadata: Some(PodMetadata {
                name: name.to_string(),
                uid: format!("uid-{number}"),
                namespace: "default".to_string(),
                attempt: 0,
            }),
            hostname: name.to_string(),
            log_directory: place
                .path("logs")
                .join(format!("{name}-{number}"))
                .display()
                .to_string(),
            dns: Some(Dns {
                servers: vec!["10.96.0.10".to_string()],
                searches: vec!["default.svc".to_string(), "svc".to_string()],
                options: vec!["ndots:5".to_string()],
            }),
            linux: Some(LinuxPod {
                cgroup_parent: format!("/{}/pod{number}", place.tag),
                security: Some(PodSecurity {
                    namespaces: Some(Namespaces { pid: CONTAINER, ..Namespaces::default() }),
                }),
                ..LinuxPod::default()
            }),
        }
    }

    pub(crate) fn pod(&self, handler: &'static str, config: PodConfig) -> Result<Pod<'_>> {
        let id = self.cri().run_pod(&config, handler)?;
        Ok(self.pod_of(id, config))
    }

    /// A pod that somebody else has made.
    pub(crate) fn pod_of(&self, id: String, config: PodConfig) -> Pod<'_> {
        Pod { daemon: self, id, config, ended: false }
    }

    /// The plainest one.
    pub(crate) fn plain(&self, handler: &'static str, name: &str) -> Result<Pod<'_>> {
        self.pod(handler, self.config(name))
    }

    /// What is there of pods.
    pub(crate) fn left(&self) -> Vec<String> {
        let (containerd, place) = (&self.containerd, &self.containerd.place);
        let told = |pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid}: {}", String::from_utf8_lossy(&words).replace('\0', " "))
        };
        let mut left: Vec<String> =
            leaks::pids_of_containers(containerd).into_iter().map(told).collect();
        // CRI keeps the folder of its snapshots and its state mounted nowhere: all of these are pods'.
        left.extend(place.new_mounts().into_iter().map(|at| format!("mount {at}")));
        let cgroups = leaks::cgroups(&place.tag);
        let cgroups = cgroups.iter().filter(|at| !is_of_a_pod(at)).map(|at| at.display());
        left.extend(cgroups.map(|at| format!("cgroup {at}")));
        let task = format!("io.containerd.runtime.v2.task/{NAMESPACE}");
        let sandbox = format!("io.containerd.sandbox.controller.v1.shim/{NAMESPACE}");
        for kind in ["state", "root"] {
            left.extend([&task, &sandbox].iter().flat_map(|at| names(place.path(kind).join(at))));
        }
        left.extend(names(place.inside("/run/containerd/s")));
        left.extend(names(place.inside("/run/containerd/runc").join(NAMESPACE)));
        left.extend(names(place.inside("/run/netns")));
        left
    }

    /// Nothing, or what it is after a while.
    pub(crate) fn leaves_nothing(&self) -> Result<()> {
        let mut left = Vec::new();
        let nothing = until(SETTLE, || {
            left = self.left();
            left.is_empty()
        });
        ensure!(nothing, "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }

    /// Their network is that of the daemon, in whose place they would find nothing of the machine.
    pub(crate) fn own_namespace(&self, kind: &str) -> Result<PathBuf> {
        let pid = self.containerd.daemon_pid().context("the daemon is running")?;
        Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
    }
}

/// The kubelet's, which is not here to remove it.
fn is_of_a_pod(cgroup: &std::path::Path) -> bool {
    cgroup.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pod"))
}

fn names(folder: PathBuf) -> Vec<String> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    all.map(|entry| entry.path().display().to_string()).collect()
}

fn config(containerd: &Containerd) -> String {
    let place = &containerd.place;
    let runtime = containerd.runtime.name();
    let (bin, conf) = (place.path("cni-bin"), place.path("cni-conf"));
    let (bin, conf) = (bin.display(), conf.display());
    let nri = r#"disabled_plugins = ["io.containerd.nri.v1.nri"]"#;
    if containerd.version == Version::V1_7 {
        let plugin = r#"plugins."io.containerd.grpc.v1.cri""#;
        return format!(
            r#"{nri}
[{plugin}]
sandbox_image = "wherry.test/pause:1"
restrict_oom_score_adj = true
[{plugin}.cni]
bin_dir = "{bin}"
conf_dir = "{conf}"
[{plugin}.containerd]
default_runtime_name = "podsandbox"
[{plugin}.containerd.runtimes.podsandbox]
runtime_type = "{runtime}""#
        );
    }
    // Newer ones ask for the image of a sandbox that has none, unless they are told so.
    let no_image =
        if containerd.version >= Version::V2_4 { "disable_pause_image_pull = true" } else { "" };
    let plugin = r#"plugins."io.containerd.cri.v1.runtime""#;
    format!(
        r#"{nri}
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "wherry.test/pause:1"
[{plugin}]
restrict_oom_score_adj = true
[{plugin}.cni]
bin_dirs = ["{bin}"]
conf_dir = "{conf}"
use_internal_loopback = true
[{plugin}.containerd.runtimes.podsandbox]
runtime_type = "{runtime}"
[{plugin}.containerd.runtimes.shim]
runtime_type = "{runtime}"
sandboxer = "shim"
{no_image}"#
    )
}

impl Ground for Daemon {
    fn runtime(&self) -> Runtime {
        self.containerd.runtime
    }

    fn title(&self) -> String {
        format!("containerd {}", self.containerd.version.name())
    }

    fn finish(&self) -> Result<()> {
        self.leaves_nothing()
    }

    fn log(&self) -> String {
        self.containerd.log()
    }
}

pub(crate) struct Pod<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) id: String,
    pub(crate) config: PodConfig,
    ended: bool,
}

/// A case that fails leaves nothing to the next.
impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.daemon.cri().remove_pod(&self.id);
        }
    }
}

impl Pod<'_> {
    /// A container of the pod that runs these words, in namespaces as the pod's.
    pub(crate) fn container(&self, image: &str, words: &[&str]) -> ContainerConfig {
        let security = self.config.linux.as_ref().and_then(|linux| linux.security.clone());
        let number = self.daemon.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("c{number}");
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.clone(), attempt: 0 }),
            image: Some(Image { image: image.to_string() }),
            command: words.iter().map(|word| word.to_string()).collect(),
            mounts: Vec::new(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainer {
                security: Some(ContainerSecurity {
                    namespaces: security.and_then(|security| security.namespaces),
                }),
            }),
        }
    }

    pub(crate) fn run(&self, container: ContainerConfig) -> Result<String> {
        self.daemon.cri().run(&self.id, &self.config, container)
    }

    /// A shell of Wasm with its tools, asleep.
    pub(crate) fn wasm(&self) -> Result<String> {
        let image = match self.daemon.containerd.runtime {
            Runtime::Wherry => "wherry.test/toolbox:wasmbox",
            Runtime::Runc => "wherry.test/toolbox:busybox",
        };
        self.run(self.container(image, &["sleep", "1000000"]))
    }

    /// The same for this machine.
    pub(crate) fn native(&self) -> Result<String> {
        self.run(
            self.container("wherry.test/toolbox:busybox", &["/bin/busybox", "sleep", "1000000"]),
        )
    }

    pub(crate) fn namespace(&self, container: &str, kind: &str) -> Result<PathBuf> {
        let pid = self.daemon.cri().pid(container)?;
        Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
    }

    pub(crate) fn is_ready(&self) -> Result<bool> {
        Ok(self.daemon.cri().pod(&self.id)?.is_ready())
    }

    /// The processes of this pod that are no containers', by name.
    pub(crate) fn processes(&self) -> Vec<String> {
        let all = leaks::pids_of_containers(&self.daemon.containerd).into_iter();
        let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let mut names: Vec<String> = all.map(|pid| name(pid).trim().to_string()).collect();
        names.sort();
        names
    }

    /// The shim that has it.
    pub(crate) fn shim(&self) -> Result<u32> {
        let shim = leaks::shim_of(&self.daemon.containerd, &self.id);
        shim.context("the pod has no shim")
    }

    /// As a kubelet ends a pod, and the proof that it is gone.
    pub(crate) fn end(mut self) -> Result<()> {
        self.ended = true;
        self.daemon.cri().stop_pod(&self.id).context("stopping the pod")?;
        if self.is_ready()? {
            bail!("a stopped pod is ready");
        }
        self.daemon.cri().remove_pod(&self.id).context("removing the pod")?;
        self.daemon.leaves_nothing()
    }

    /// Somebody else has ended it; the proof that it is gone.
    pub(crate) fn gone(mut self) -> Result<()> {
        self.ended = true;
        self.daemon.leaves_nothing()
    }
}
