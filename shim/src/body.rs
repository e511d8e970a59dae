//! What the shim holds of one task: the things that the ledger only has words for.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use tokio::task::AbortHandle;
use wherry_core::lifecycle::{Creation, Exit};
use wherry_core::plan::Plan;
use wherry_core::spec::{Lookup, Options, Refusal, Role};
use wherry_sandbox::cgroup::{Cgroup, OomWatch};
use wherry_sandbox::process;
use wherry_sandbox::wire::Channel;

use crate::code::Compiled;
use crate::exec::Exec;
use crate::limited::Abort;
use crate::native::{self, Native};
use crate::reaper;
use crate::state_file::StateFile;
use crate::stdio::{Ends, Kept};

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bundle: PathBuf,
    pub(crate) creation: Creation,
    pub(crate) options: Option<Any>,
    pub(crate) abort: Abort,
    pub(crate) written: Written,
    /// Until its kind is known.
    pub(crate) draft: Option<Draft>,
    /// Of a Wasm container only.
    pub(crate) planned: Option<Arc<Planned>>,
    /// Of a native container only.
    pub(crate) native: Option<Arc<Native>>,
    pub(crate) code: Option<Compiled>,
    pub(crate) cgroup: Option<Arc<Cgroup>>,
    pub(crate) guest: Option<Guest>,
    pub(crate) parked: Option<Parked>,
    pub(crate) channel: Option<Channel>,
    pub(crate) kept: Option<Kept>,
    pub(crate) execs: BTreeMap<String, Exec>,
    /// What it had used when it ended, where the cgroup did not outlive it.
    pub(crate) used: Option<Any>,
    /// Waiters and timers that end with the task.
    pub(crate) watchers: Vec<AbortHandle>,
}

/// What the spec says, while it is not known whether it is Wasm that it is about: a refusal counts
/// only then.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) plan: Result<Plan, Refusal>,
    pub(crate) lookup: Lookup,
    pub(crate) options: Options,
    pub(crate) oci_version: String,
}

/// What was decided, and by which of the administrator's options.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) role: Role,
    pub(crate) plan: Plan,
    pub(crate) options: Options,
    pub(crate) oci_version: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) pid: u32,
    pub(crate) pidfd: Arc<OwnedFd>,
}

impl Guest {
    /// Ends it, and takes its status.
    pub(crate) async fn end(&self) -> Exit {
        // Gone already is what we want.
        let _ = process::signal(&self.pidfd, KILL);
        reaper::ended(&self.pidfd).await;
        reaper::reap(&self.pidfd)
    }
}

/// signal(7).
pub(crate) const KILL: u32 = 9;

/// A guest that has not been told yet what it is.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) channel: Channel,
    pub(crate) sources: Vec<OwnedFd>,
    pub(crate) ends: Ends,
    /// Tells the memory limit.
    pub(crate) memory: Option<OwnedFd>,
}

/// What a step of creating brings.
#[derive(Debug)]
pub(crate) enum Product {
    Plan(Box<Draft>),
    Rootfs,
    /// It is Wasm, or a pod's sandbox.
    Code(Box<Planned>, Compiled),
    /// It is for runc.
    Native(Native),
    /// runc does this step with another.
    Nothing,
    Born(Box<native::Born>),
    Cgroup(Cgroup, Option<OomWatch>),
    Guest(Guest, Parked, Kept),
    Ready(Channel),
}

/// The state file, as it was last written; a job and the owner may both have something to add.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    bundle: PathBuf,
    state: Arc<Mutex<StateFile>>,
}

impl Written {
    pub(crate) fn new(bundle: PathBuf, id: &str) -> Written {
        let state = StateFile { id: id.to_owned(), ..StateFile::default() };
        Written { bundle, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut StateFile)) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.write(&self.bundle)
    }

    pub(crate) fn remove(&self) {
        StateFile::remove(&self.bundle);
    }
}

/// The children that have a waiter of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guests(Arc<Mutex<Children>>);

#[derive(Debug, Default)]
struct Children {
    pids: BTreeSet<u32>,
    expected: usize,
}

/// Somebody makes a child whose pid is not known yet. It may even end before it is: as long as this
/// is held, no dead child is taken for an orphan.
#[derive(Debug)]
pub(crate) struct Expecting(Guests);

impl Guests {
    pub(crate) fn add(&self, pid: u32) {
        self.children().pids.insert(pid);
    }

    pub(crate) fn remove(&self, pid: u32) {
        self.children().pids.remove(&pid);
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        let children = self.children();
        children.expected > 0 || children.pids.contains(&pid)
    }

    pub(crate) fn expect(&self) -> Expecting {
        self.children().expected += 1;
        Expecting(self.clone())
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        self.0.children().expected -= 1;
    }
}
