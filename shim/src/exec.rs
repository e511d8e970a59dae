//! Execs: further guests in the sandbox of a container that runs.
//!
//! An exec is added with its `process` and started later. Starting goes the way of a container's
//! own guest (find the program, get its code, make the process, introduce it), except that the
//! process joins what is there, and runs as soon as it is ready.

use std::os::fd::AsFd;
use std::sync::Arc;

use oci_spec::runtime::{Hooks, Process};
use wherry_core::lifecycle::{Code, Denied, Exit, Key, Stdio};
use wherry_core::plan::{self, Terminal};
use wherry_core::spec;
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::hooks::Status;
use wherry_sandbox::wire::{Setup, ToGuest};

use crate::body::{Body, Expecting, Guest, Parked, Planned};
use crate::code::{self, Compiled};
use crate::create::{bear, chain, facts, failed, park, refused};
use crate::introduction::{hook_state, introduce};
use crate::limited::Abort;
use crate::program;
use crate::reaper;
use crate::stdio::{self, Kept, Streams};

/// What the shim holds of one exec.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) given: Arc<Given>,
    pub(crate) stdio: Stdio,
    pub(crate) abort: Abort,
    pub(crate) guest: Option<Guest>,
    pub(crate) kept: Option<Kept>,
    /// `CloseIO` came before there were streams.
    pub(crate) stdin_closed: bool,
}

/// The process that an exec is to be. runc gets it as it came; for a guest it has to be understood.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) json: serde_json::Value,
    pub(crate) process: Result<Process, Denied>,
}

/// All that starting one needs, out of the body of its container.
pub(crate) struct Start {
    given: Arc<Given>,
    stdio: Stdio,
    abort: Abort,
    planned: Arc<Planned>,
    cgroup: Arc<Cgroup>,
    init: Guest,
    namespace: Arc<str>,
    containerd: Arc<str>,
}

/// A guest that runs, and the shim's ends of its streams.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) guest: Guest,
    pub(crate) kept: Kept,
    /// Until its pid is known to those who take orphans.
    pub(crate) _expecting: Option<Expecting>,
}

impl Exec {
    pub(crate) fn new(given: Arc<Given>, stdio: Stdio) -> std::io::Result<Exec> {
        let abort = Abort::new()?;
        Ok(Exec { given, stdio, abort, guest: None, kept: None, stdin_closed: false })
    }
}

impl Start {
    /// None if the container has gone meanwhile.
    pub(crate) fn of(
        key: &Key,
        body: &Body,
        namespace: Arc<str>,
        containerd: Arc<str>,
    ) -> Option<Start> {
        let exec = body.execs.get(key.exec.as_ref()?)?;
        Some(Start {
            given: Arc::clone(&exec.given),
            stdio: exec.stdio.clone(),
            abort: exec.abort.clone(),
            planned: body.planned.clone()?,
            cgroup: body.cgroup.clone()?,
            init: body.guest.clone()?,
            namespace,
            containerd,
        })
    }

    /// From the spec of a process to that process running.
    pub(crate) async fn run(self) -> Result<Started, Denied> {
        let planned = Arc::clone(&self.planned);
        let born = tokio::task::spawn_blocking(move || self.bear()).await;
        let born = born.map_err(|e| Denied::new(Code::Unknown, format!("the exec: {e}")))??;
        let Born { guest, parked, mut kept, code, plan } = born;
        let setup = Setup {
            sandbox: plan.sandbox,
            run: plan.run,
            hooks: Hooks::default(),
            state: hook_state(&planned, guest.pid, Status::Running),
            profile: code.profile,
            terminal: parked.ends.terminal,
            memory: false,
        };
        let started = introduce(planned, parked, code, setup).await;
        kept.hold_stdin();
        let released = started
            .and_then(|channel| channel.send(&ToGuest::Start, &[]).map_err(|e| Some(failed(&e))));
        match released {
            Ok(()) => Ok(Started { guest, kept, _expecting: None }),
            Err(why) => {
                let exit = guest.end().await;
                Err(why.unwrap_or_else(|| gone(exit)))
            }
        }
    }

    fn bear(self) -> Result<Born, Denied> {
        let process = self.given.process.as_ref().map_err(Denied::clone)?;
        let plan = spec::exec(process, &self.planned.plan, self.init.pid, facts())
            .map_err(|refusal| refused(&refusal))?;
        let code = self.code(&plan)?;
        let streams = Streams {
            stdio: &self.stdio,
            terminal: self.stdio.terminal.then(|| plan.terminal.unwrap_or(NO_SIZE)),
            owner: stdio::terminal::owner(&self.planned.plan.sandbox),
            namespace: &self.namespace,
            id: &self.planned.plan.id,
        };
        let (ends, kept) =
            stdio::open(streams).map_err(|e| Denied::new(Code::FailedPrecondition, chain(&e)))?;
        let child = bear(&plan.sandbox, &plan.run, &self.cgroup)?;
        // All of the container was found by its init's pid: if that has a later owner, it was another's.
        if reaper::has_ended(&self.init.pidfd) {
            child.end();
            let id = &self.planned.plan.id;
            let why = format!("task {id} is not running: its init ended while the exec was made");
            return Err(Denied::new(Code::FailedPrecondition, why));
        }
        let (guest, parked) = park(child, ends, &self.cgroup);
        Ok(Born { guest, parked, kept, code, plan })
    }

    /// The program as the container sees it now, else one of the built-in ones.
    fn code(&self, plan: &plan::Exec) -> Result<Compiled, Denied> {
        let root = program::root_of(self.init.pid)?;
        let found = program::find_in(root.as_fd(), &plan.program)?;
        let wanted = code::Wanted {
            name: &plan.program.name,
            container: &self.planned.plan.id,
            options: &self.planned.options,
            namespace: &self.namespace,
            containerd: &self.containerd,
            abort: &self.abort,
            compiling: &|_, _| {},
        };
        match found {
            Some(file) => code::of_file(&wanted, file),
            None if program::is_builtin(&plan.program) => code::of_builtin(&wanted),
            None => Err(program::not_found(&plan.program)),
        }
    }
}

/// The size is told by a resize that follows (`docker exec -t`).
const NO_SIZE: Terminal = Terminal { rows: 0, columns: 0 };

struct Born {
    guest: Guest,
    parked: Parked,
    kept: Kept,
    code: Compiled,
    plan: plan::Exec,
}

fn gone(exit: Exit) -> Denied {
    let how = exit.ended;
    Denied::new(Code::Unknown, format!("the guest process of the exec {how} while it was set up"))
}
