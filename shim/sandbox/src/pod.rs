//! The namespaces of a pod, held by a thread.
//!
//! A thread has network, IPC and UTS namespaces of its own, and `/proc/<its id>/ns` names them as it does a process's
//! (proc(5)): who joins them need not know. It costs a stack of which one page is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use oci_spec::runtime::LinuxNamespaceType as Kind;
use rustix::mount::{MountFlags, mount};
use wherry_core::plan::Namespace;
use wherry_core::spec::pod::Thread;

use crate::enter::kernel;
use crate::error::Doing;
use crate::spawn::refuse_the_nodes_own;
use crate::{Error, Result, sys};

/// A thread makes few calls and no frames worth mentioning.
const STACK_BYTES: usize = 64 << 10;

/// The thread, and with it the namespaces, until this is dropped.
#[derive(Debug)]
pub struct Held {
    /// The thread's id, which stands for a pid.
    pub id: u32,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Makes the namespaces with a thread in them.
pub fn hold(wanted: &Thread) -> Result<Held> {
    let network = wanted.namespaces.iter().find(|one| one.kind == Kind::Network);
    let network =
        network.and_then(|one| one.path.as_deref()).map(|path| open(path, &wanted.sysctl));
    let network = network.transpose()?;
    let wanted = wanted.clone();
    let (tell, told) = channel();
    let (end, held) = channel();
    let thread = std::thread::Builder::new()
        .name("pod".into())
        .stack_size(STACK_BYTES)
        .spawn(move || live(&wanted, network, &tell, &held))
        .doing(|| "starting a thread for the namespaces of the pod".into())?;
    let ready = told.recv().unwrap_or_else(|_| Err(Error::Peer("the thread is gone".into())));
    ready.map(|id| Held { id, end: Some(end), thread: Some(thread) })
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end = None;
        // It does nothing any more but end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn open(path: &Path, sysctl: &BTreeMap<String, String>) -> Result<File> {
    let network = File::open(path)
        .doing(|| format!("opening the network namespace {} of the pod", path.display()))?;
    refuse_the_nodes_own(&network, sysctl)?;
    Ok(network)
}

fn live(wanted: &Thread, network: Option<File>, tell: &Sender<Result<u32>>, held: &Receiver<()>) {
    // Signals are for the threads that have work.
    sys::block_signals();
    let entered = enter(wanted, network.as_ref());
    drop(network);
    let id = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let is_ready = entered.is_ok();
    if tell.send(entered.map(|()| id)).is_ok() && is_ready {
        // Nothing is ever sent: it is dropped.
        let _ = held.recv();
    }
}

fn enter(wanted: &Thread, network: Option<&File>) -> Result<()> {
    if let Some(network) = network {
        sys::setns(network.as_raw_fd(), Kind::Network as i32)
            .doing(|| "joining the network namespace of the pod".into())?;
    }
    let made = |one: &&Namespace| one.path.is_none();
    let kinds = wanted.namespaces.iter().filter(made).fold(0, |all, one| all | one.kind as i32);
    sys::unshare(kinds).doing(|| "making the namespaces of the pod".into())?;
    if let Some(name) = &wanted.hostname {
        rustix::system::sethostname(name.as_bytes())
            .doing(|| format!("setting hostname {name}"))?;
    }
    kernel::write_sysctls(&wanted.sysctl)
}

/// Shared memory for the containers of a pod: a tmpfs of this size, as containerd mounts it.
pub fn mount_shm(target: &Path, bytes: u64) -> Result<()> {
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let options = std::ffi::CString::new(format!("mode=1777,size={bytes}")).unwrap_or_default();
    mount("shm", target, "tmpfs", flags, Some(options.as_c_str()))
        .doing(|| format!("mounting the shared memory of the pod on {}", target.display()))
}

/// The user namespace that a network namespace belongs to: containerd makes the network of a pod in the user
/// namespace that the pod is to have.
pub fn owner_of(network: &Path) -> Result<File> {
    let doing = || format!("looking for the user namespace of {}", network.display());
    let network = File::open(network).doing(doing)?;
    sys::owner_of_namespace(network.as_raw_fd()).map(File::from).doing(doing)
}
