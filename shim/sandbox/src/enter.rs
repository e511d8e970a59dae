//! From a bare process in new namespaces to a container.
//!
//! The order is that of the runtime spec ("Lifecycle") and of runc 1.2
//! (`libcontainer/standard_init_linux.go` `Init`, `libcontainer/rootfs_linux.go` `prepareRootfs`
//! and `finalizeRootfs`):
//!
//! 1. propagation of the old root, the new root bound to itself, mounts, devices, working folder
//! 2. hooks: `prestart` and `createRuntime` by the shim, `createContainer` here
//! 3. sysctls, masked and read-only paths, read-only mounts
//! 4. `pivot_root`; our own process hidden from procfs
//! 5. host name
//! 6. limits, labels, user, capabilities; then nothing can be gained any more
//! 7. our own confinement: Landlock and the first system call filter ([`seccomp`])
//!
//! Two steps are at another place than runc's, with the same result: paths are masked before the
//! root is changed, because only then `/dev/null` of the host can be bound; and the spec's own
//! filter is installed last of all, in [`Entered::seal`], as runc does before exec, so that it
//! has to allow what the program does and not what we do before.
//!
//! A joined mount namespace (a second guest in a container) has all its mounts already: then 1 to
//! 4 are left out.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::fs::{Mode, OFlags};
use wherry_core::plan;

use crate::error::Doing;
use crate::hooks::{self, Status};
use crate::idmap::{self, Maps};
use crate::resolve::{Missing, open_or_make};
use crate::sys::MountAttr;
use crate::wire::{Channel, Setup, ToGuest, ToShim};
use crate::{Error, Result, limits};

mod attributes;
mod cgroups;
mod devices;
pub(crate) mod kernel;
mod labels;
mod mount;
mod paths;
mod privileges;
mod procfs;
mod root;
mod start;
mod volumes;

pub use start::Entered;

/// Enters the sandbox. Call with one thread, after opening whatever the engine needs from
/// `/proc/self` and before touching a byte of the module.
///
/// `sources` are [`crate::wire::SetupFds::sources`]. What only the mounts tell is put right in `setup.run.preopens`.
pub fn enter(setup: &mut Setup, sources: Vec<OwnedFd>, channel: &mut Channel) -> Result<Entered> {
    let table = enter_root(setup, sources, channel)?;
    volumes::settle(&mut setup.run.preopens, &table);
    start::confine(setup)
}

/// Everything but our own confinement. Returns the table of the container's mounts.
fn enter_root(setup: &Setup, sources: Vec<OwnedFd>, channel: &mut Channel) -> Result<String> {
    let sandbox = &setup.sandbox;
    check(sandbox)?;
    let host = Host::open()?;
    // A mode that is asked for is the mode that is set.
    rustix::process::umask(Mode::empty());
    let table = match namespace(sandbox, Kind::Mount) {
        Some(plan::Namespace { path: None, .. }) => {
            let root = root::prepare(sandbox, sources, setup.terminal)?;
            run_hooks(setup, &root, channel)?;
            kernel::set_sysctls(sandbox, &host, Some(&root))?;
            root::finish(setup, &root, &host)?
        }
        _ => {
            rustix::process::chdir("/").doing(|| "going to the root".into())?;
            kernel::set_sysctls(sandbox, &host, None)?;
            procfs::read(&host, "mountinfo")?
        }
    };
    kernel::set_names(sandbox)?;
    if setup.terminal {
        // The session is its own since birth; without a controlling terminal Ctrl-C is a byte.
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .doing(|| "taking the controlling terminal (process.terminal)".into())?;
    }
    limits::set(&sandbox.rlimits)?;
    labels::apply(sandbox, &host)?;
    drop(host);
    privileges::reduce(sandbox)?;
    Ok(table)
}

/// The host's procfs, as long as it is needed: after the root is changed there may be none, and
/// the container's hides this process from itself.
#[derive(Debug)]
pub(crate) struct Host {
    proc_self: OwnedFd,
    proc_sys: OwnedFd,
}

impl Host {
    fn open() -> Result<Host> {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).doing(|| format!("opening {path}"))
        };
        Ok(Host { proc_self: open("/proc/self")?, proc_sys: open("/proc/sys")? })
    }
}

fn namespace(sandbox: &plan::Sandbox, kind: Kind) -> Option<&plan::Namespace> {
    sandbox.namespaces.iter().find(|n| n.kind == kind)
}

/// In a user namespace of its own some things are the host's to give: then the sandbox asks the
/// shim for them, or makes do.
fn in_user_namespace(sandbox: &plan::Sandbox) -> bool {
    namespace(sandbox, Kind::User).is_some()
}

/// What no step below would notice.
fn check(sandbox: &plan::Sandbox) -> Result<()> {
    if namespace(sandbox, Kind::Mount).is_none() {
        return Err(Error::Refused(
            "linux.namespaces has no mount namespace: without one the container's mounts would be \
             the node's; add {\"type\": \"mount\"}"
                .into(),
        ));
    }
    kernel::check(sandbox)
}

fn run_hooks(setup: &Setup, root: &root::Root, channel: &mut Channel) -> Result<()> {
    let hooks = &setup.hooks;
    let early = hooks.prestart();
    let some = |hooks: &Option<Vec<_>>| hooks.as_ref().is_some_and(|h| !h.is_empty());
    if some(early) || some(hooks.create_runtime()) {
        channel.send(&ToShim::RunRuntimeHooks, &[])?;
        match channel.receive()? {
            Some(ToGuest::HooksDone) => {}
            Some(ToGuest::HooksFailed { message }) => return Err(Error::Peer(message)),
            Some(_) => return Err(Error::Peer("the shim did not answer about hooks".into())),
            None => return Err(Error::Peer("the shim is gone".into())),
        }
    }
    if some(hooks.create_container()) {
        rustix::process::fchdir(&root.folder).doing(|| "going to the new root".into())?;
        let state = setup.state.at(Status::Creating);
        hooks::run_all("createContainer", hooks.create_container().as_ref(), &state)?;
    }
    Ok(())
}

/// For a guest in a user namespace: it may not walk to where the host keeps its files, so the shim
/// opens them, and they travel as descriptors. In the order in which [`enter`] takes them: the
/// root, then the binds. So do they where ids are mapped, which the shim alone may do.
pub(crate) fn open_sources(sandbox: &plan::Sandbox) -> Result<Vec<OwnedFd>> {
    let mapped = sandbox.mounts.iter().any(|mount| mount.idmap.is_some());
    if !(in_user_namespace(sandbox) || mapped)
        || namespace(sandbox, Kind::Mount).is_none_or(|n| n.path.is_some())
    {
        return Ok(Vec::new());
    }
    let mut maps = Maps::default();
    // A copy of a shared mount is its peer: unlike copies made inside, where all have become slaves
    // by then, these would carry the container's mounts out, and pivot_root refuses them.
    let slave = |tree: &OwnedFd| {
        let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
        attributes::change(tree, slave, true)
            .doing(|| "keeping mounts of the container from the host's".into())
    };
    let root = root::open_tree(&sandbox.rootfs)?;
    slave(&root)?;
    let mut sources = vec![root];
    for mount in &sandbox.mounts {
        if let plan::MountWhat::Bind { source, recursive } = &mount.what {
            let tree = mount::open_source(source, *recursive)?;
            if let Some(idmap) = &mount.idmap {
                map_ids(&tree, mount, idmap, &mut maps)?;
            }
            if mount.propagation.is_none() {
                slave(&tree)?;
            }
            sources.push(tree);
        }
    }
    Ok(sources)
}

fn map_ids(
    tree: &OwnedFd,
    mount: &plan::Mount,
    idmap: &plan::IdMap,
    maps: &mut Maps,
) -> Result<()> {
    let namespace = maps.namespace(&idmap.ids)?;
    idmap::apply(tree, namespace, idmap.recursive).map_err(|e| {
        let to = mount.destination.display();
        let doing = format!("mapping the ids of mounts {to}{}", idmap::hint(e));
        Error::System { doing, source: e.into() }
    })
}

/// The working folder is made while the root can still be written.
fn make_cwd(sandbox: &plan::Sandbox, root: &root::Root) -> Result<()> {
    open_or_make(&root.folder, &sandbox.cwd, Missing::Folder).map(drop).map_err(|e| match e {
        Error::System { doing, source } => Error::System {
            doing: format!("{doing} for process.cwd {}", display(&sandbox.cwd)),
            source,
        },
        other => other,
    })
}

fn display(path: &Path) -> std::path::Display<'_> {
    path.display()
}
