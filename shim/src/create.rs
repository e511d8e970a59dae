//! The steps of creating a container: each takes what is there and brings one thing more.
//!
//! They run one after the other, most of them off the owner's thread, and leave nothing of their own
//! when they fail. What they brought is undone by [`crate::effects`], in reverse.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use oci_spec::runtime::Spec;
use wherry_core::lifecycle::{Code, Creation, Denied, RootMount};
use wherry_core::plan::{Plan, Run, Sandbox};
use wherry_core::spec::pod::{self, Shared};
use wherry_core::spec::{self, CgroupVersion, Facts, Input, Options, Refusal, Refused, Role};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::mounts::{RootfsMount, mount_rootfs};
use wherry_sandbox::spawn::{Child, spawn};

use crate::body::{Draft, Guest, Parked, Planned, Product, Written};
use crate::installed;
use crate::lifeline::Process;
use crate::options;
use crate::pause;
use crate::protocol::start::write_atomically;
use crate::stdio::{self, Ends, Streams};

/// More than a terminal shows.
const LISTED_BYTES: usize = 4096;

type Step = Result<Product, Option<Denied>>;

/// Reads the spec and decides everything.
pub(crate) fn plan(
    id: &str,
    namespace: &str,
    creation: &Creation,
    options: Option<&Any>,
    pod: Option<&Shared>,
) -> Step {
    let bundle = Path::new(&creation.bundle);
    let path = bundle.join("config.json");
    let mut json = std::fs::read_to_string(&path)
        .map_err(|e| invalid(format!("cannot read {}: {e}", path.display())))?;
    if let Some(pod) = pod
        && let Some(complete) = pod::complete(&json, pod).map_err(|refusal| refused(&refusal))?
    {
        // runc reads it, too.
        write_atomically(&path, &complete)
            .map_err(|e| invalid(format!("cannot write {}: {e}", path.display())))?;
        json = complete;
        if facts().selinux
            && let Ok(spec) = spec::parse(&json)
            && let Some(label) =
                spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref())
        {
            crate::pod::label(pod, label)?;
        }
    }
    let options = options::of(options)?;
    let (plan, oci_version) = match spec::parse(&json) {
        Ok(spec) => (plan_of(&spec, id, namespace, bundle, &options), spec.version().clone()),
        Err(refusal) => (Err(refusal), String::new()),
    };
    let lookup = spec::lookup(&json, bundle).map_err(|refusal| {
        // The one that looked closer says it better.
        refused(plan.as_ref().err().unwrap_or(&refusal))
    })?;
    Ok(Product::Plan(Box::new(Draft { plan, lookup, options, oci_version })))
}

pub(crate) fn plan_of(
    spec: &Spec,
    id: &str,
    namespace: &str,
    bundle: &Path,
    options: &Options,
) -> Result<Plan, Refusal> {
    let directories: BTreeSet<PathBuf> =
        spec::bind_sources(spec, bundle).into_iter().filter(|path| path.is_dir()).collect();
    let facts = Facts { directories, ..facts().clone() };
    spec::plan(Input { spec, bundle, namespace, id, options, facts: &facts })
}

pub(crate) fn rootfs(bundle: &Path, mounts: &[RootMount], written: &Written) -> Step {
    // Docker mounts the root itself and sends none.
    if mounts.is_empty() {
        return Ok(Product::Rootfs);
    }
    if let Some(mount) = mounts.iter().find(|mount| !mount.target.is_empty()) {
        let target = &mount.target;
        return Err(Some(invalid(format!(
            "a mount of the root file system has the target {target:?}: it must have none"
        ))));
    }
    let target = bundle.join("rootfs");
    let note = written.change(|state| state.rootfs = Some(target.clone()));
    note.map_err(cannot_note)?;
    let mounts: Vec<_> = mounts
        .iter()
        .map(|m| RootfsMount {
            kind: m.kind.clone(),
            source: m.source.clone(),
            options: m.options.clone(),
        })
        .collect();
    mount_rootfs(&mounts, &target).map_err(|e| failed(&e))?;
    Ok(Product::Rootfs)
}

pub(crate) fn cgroup(planned: &Planned, written: &Written) -> Step {
    let cgroup = Cgroup::create(&planned.plan.cgroup).map_err(|e| failed(&e))?;
    if let Err(error) = written.change(|state| state.cgroup = Some(cgroup.locator().clone())) {
        let _ = cgroup.delete();
        return Err(Some(cannot_note(error)));
    }
    // A node without the memory controller has nothing to watch.
    let watch = cgroup.watch_oom().ok();
    Ok(Product::Cgroup(cgroup, watch))
}

pub(crate) fn guest(
    planned: &Planned,
    cgroup: &Cgroup,
    creation: &Creation,
    namespace: &str,
    written: &Written,
) -> Step {
    let plan = &planned.plan;
    let streams = Streams {
        stdio: &creation.stdio,
        terminal: plan.terminal,
        owner: stdio::terminal::owner(&plan.sandbox),
        namespace,
        id: &plan.id,
    };
    let (ends, kept) =
        stdio::open(streams).map_err(|e| Denied::new(Code::FailedPrecondition, chain(&e)))?;
    let child = match planned.role {
        Role::Program => bear(&plan.sandbox, &plan.run, cgroup)?,
        Role::Pause => {
            spawn(installed::shim()?.file(), vec![pause::NAME.into()], &plan.sandbox, cgroup)
                .map_err(|e| failed(&e))?
        }
    };
    if let Err(error) = written.change(|state| state.guest = Process::of(child.pid)) {
        child.end();
        return Err(Some(cannot_note(error)));
    }
    let (guest, parked) = park(child, ends, cgroup);
    Ok(Product::Guest(guest, parked, kept))
}

/// A guest process that knows nothing yet.
pub(crate) fn bear(sandbox: &Sandbox, run: &Run, cgroup: &Cgroup) -> Result<Child, Denied> {
    spawn(installed::guest()?.file(), listed(&run.args), sandbox, cgroup).map_err(|e| failed(&e))
}

/// The program's arguments, which are those of its process too, for `ps` and `docker top`. Only who lists processes
/// reads them there, so they end long before execve(2) would refuse them.
fn listed(args: &[String]) -> Vec<CString> {
    let mut room = LISTED_BYTES;
    let shown = |arg: &String| {
        let shown = &arg[..arg.floor_char_boundary(room)];
        room = room.checked_sub(shown.len() + 1)?;
        CString::new(shown).ok()
    };
    args.iter().map_while(shown).collect()
}

pub(crate) fn park(child: Child, ends: Ends, cgroup: &Cgroup) -> (Guest, Parked) {
    let Child { pid, pidfd, channel, sources } = child;
    let memory = cgroup.memory_limit().map(OwnedFd::from);
    (Guest { pid, pidfd: Arc::new(pidfd) }, Parked { channel, sources, ends, memory })
}

pub(crate) fn facts() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| {
        let says = |path: &str, yes: &str| {
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == yes)
        };
        // Asked of the scheduler alone: std would read through the shim's own cgroups, too.
        let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count());
        Facts {
            cgroup: match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                true => CgroupVersion::V2,
                false => CgroupVersion::V1,
            },
            systemd: Path::new("/run/systemd/system").is_dir(),
            cpus: u16::try_from(cpus).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN),
            apparmor: says("/sys/module/apparmor/parameters/enabled", "Y"),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            directories: BTreeSet::new(),
        }
    })
}

pub(crate) fn invalid(sentence: String) -> Denied {
    Denied::new(Code::InvalidArgument, sentence)
}

pub(crate) fn refused(refusal: &Refusal) -> Denied {
    let code = match refusal.kind {
        Refused::Invalid => Code::InvalidArgument,
        Refused::Unsupported => Code::FailedPrecondition,
    };
    Denied::new(code, refusal.to_string())
}

pub(crate) fn failed(error: &wherry_sandbox::Error) -> Denied {
    Denied::new(Code::FailedPrecondition, error.sentence())
}

fn cannot_note(error: std::io::Error) -> Denied {
    Denied::new(
        Code::FailedPrecondition,
        format!("cannot write wherry.json into the bundle: {error}"),
    )
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
