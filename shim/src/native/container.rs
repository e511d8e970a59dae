//! One native container: created, run and taken down by calls of runc.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, Gid, Uid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use wherry_core::lifecycle::{Code, Creation, Denied, Stdio};
use wherry_core::spec::{Facts, Lookup, Options};
use wherry_sandbox::cgroup::{Cgroup, Locator, OomWatch};

use super::call::{Call, FOR_EVER, Streams};
use super::console::Console;
use super::words::{Action, Runc};
use crate::body::{Expecting, Guest, Written};
use crate::create::chain;
use crate::lifeline::Process;
use crate::limited::Abort;
use crate::stdio::{self, Kept};

/// What nobody waits for must end some time.
const CLEANUP: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Native {
    runc: Runc,
    id: String,
    namespace: Arc<str>,
    bundle: PathBuf,
    no_pivot: bool,
    no_new_keyring: bool,
    /// Who is to own its streams; 0 leaves them as they are.
    io_uid: u32,
    io_gid: u32,
    /// The kernel ends all of it with its init.
    own_pids: bool,
    /// The cgroup that runc is going to make, as far as it can be told: a runc that is killed while
    /// it creates leaves it behind.
    expected: Option<Locator>,
}

/// What creating brings: its init process, parked by runc, and what the shim keeps of it.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) guest: Guest,
    pub(crate) kept: Kept,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) watch: Option<OomWatch>,
    pub(crate) _expecting: Expecting,
}

/// An exec that runs.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) guest: Guest,
    pub(crate) kept: Kept,
}

impl Native {
    pub(crate) fn new(
        id: String,
        namespace: Arc<str>,
        bundle: PathBuf,
        lookup: &Lookup,
        options: &Options,
        facts: &Facts,
    ) -> Result<Native, Denied> {
        let given = &options.runc;
        let name = &given.binary_name;
        let Some(binary) = super::find(name) else {
            let sentence = format!(
                "{} is a native program, which runc runs, but there is none on this node: exec: \
                 {name:?}: executable file not found in $PATH",
                lookup.program.name
            );
            return Err(Denied::new(Code::FailedPrecondition, sentence));
        };
        let runc = Runc {
            binary,
            root: given.root.join(&*namespace),
            systemd_cgroup: lookup.systemd_cgroup(options.cgroup_driver, facts),
        };
        Ok(Native {
            runc,
            id,
            namespace,
            bundle,
            no_pivot: given.no_pivot_root,
            no_new_keyring: given.no_new_keyring,
            io_uid: given.io_uid,
            io_gid: given.io_gid,
            own_pids: lookup.own_pids,
            expected: lookup.cgroup().and_then(|path| Cgroup::expected(&path).ok()),
        })
    }

    /// Whether what its init leaves behind has to be ended by us.
    pub(crate) fn outlives_init(&self) -> bool {
        !self.own_pids
    }

    /// Has runc make it, up to the point where its program is to be started.
    pub(crate) fn create(
        &self,
        creation: &Creation,
        abort: &Abort,
        written: &Written,
        expecting: Expecting,
    ) -> Result<Born, Denied> {
        let stranger = self.is_known();
        let noted = written.change(|state| {
            state.native = Some(self.runc.clone());
            state.cgroup = self.expected.clone().filter(|_| !stranger);
        });
        noted.map_err(cannot_note)?;
        let pid_file = self.bundle.join("init.pid");
        let action = Action::Create {
            bundle: &self.bundle,
            pid_file: &pid_file,
            console: None,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
        };
        let log = self.bundle.join("log.json");
        let started = |pid| {
            // Only a cleanup without us would miss it.
            let _ = written.change(|state| state.worker = Process::of(pid));
        };
        let call = Call { started: &started, ..self.call(&log, abort, FOR_EVER) };
        let born = self.run(&creation.stdio, &call, action).and_then(|kept| {
            let guest = guest(&pid_file)?;
            Ok(self.adopt(guest, kept, written, expecting))
        });
        if born.is_err() && !stranger {
            self.clear();
        }
        born
    }

    /// After a creation that failed, or was given up in the middle.
    fn clear(&self) {
        if self.is_known() {
            self.delete();
        }
        let Some(cgroup) = self.expected.clone().map(Cgroup::locate) else { return };
        if let Err(error) = cgroup.kill_all().and_then(|()| cgroup.delete()) {
            log::warn!("a cgroup of {} stays: {}", self.id, error.sentence());
        }
    }

    fn adopt(&self, guest: Guest, kept: Kept, written: &Written, expecting: Expecting) -> Born {
        // runc has made the groups; one that is gone already has nothing to tell.
        let cgroup = Cgroup::of_process(guest.pid).ok();
        let watch = cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok());
        let noted = written.change(|state| {
            state.guest = Process::of(guest.pid);
            if let Some(cgroup) = &cgroup {
                state.cgroup = Some(cgroup.locator().clone());
            }
        });
        if let Err(error) = noted {
            // runc knows all of it, too.
            log::warn!("cannot write wherry.json of {}: {error}", self.id);
        }
        Born { guest, kept, cgroup, watch, _expecting: expecting }
    }

    pub(crate) fn start(&self, abort: &Abort) -> Result<(), Denied> {
        self.simple(Action::Start, b"", abort)
    }

    pub(crate) fn pause(&self, abort: &Abort) -> Result<(), Denied> {
        self.simple(Action::Pause, b"", abort)
    }

    pub(crate) fn resume(&self, abort: &Abort) -> Result<(), Denied> {
        self.simple(Action::Resume, b"", abort)
    }

    /// `resources` as they came: runc knows better than we what they may hold.
    pub(crate) fn update(&self, resources: &[u8], abort: &Abort) -> Result<(), Denied> {
        self.simple(Action::Update, resources, abort)
    }

    /// One more process. `process` is its spec, as it came.
    pub(crate) fn exec(
        &self,
        exec: &str,
        process: &Value,
        stdio: &Stdio,
        abort: &Abort,
    ) -> Result<Ran, Denied> {
        let mut process = process.clone();
        // The call decides, not the spec (containerd, `process/init.go`, `exec`).
        process["terminal"] = stdio.terminal.into();
        let file = |ending: &str| self.bundle.join(format!("exec-{exec}.{ending}"));
        let (spec, pid_file, log) = (file("json"), file("pid"), file("log"));
        let failed = |e: std::io::Error| {
            Denied::new(Code::Unknown, format!("cannot write {}: {e}", spec.display()))
        };
        let ran = write_private(&spec, &process.to_string()).map_err(failed).and_then(|()| {
            let action = Action::Exec { process: &spec, console: None, pid_file: &pid_file };
            let kept = self.run(stdio, &self.call(&log, abort, FOR_EVER), action)?;
            Ok(Ran { guest: guest(&pid_file)?, kept })
        });
        for done in [&spec, &pid_file, &log] {
            let _ = std::fs::remove_file(done);
        }
        ran
    }

    /// Takes it down with whatever still runs in it; false if something of it stays.
    pub(crate) fn delete(&self) -> bool {
        let Ok(abort) = Abort::new() else { return false };
        let log = self.bundle.join("log.json");
        let call = self.call(&log, &abort, CLEANUP);
        let gently = call.run(Action::Delete { force: false }, Streams::Text(b""));
        if gently.is_ok() || !self.is_known() {
            return true;
        }
        match call.run(Action::Delete { force: true }, Streams::Text(b"")) {
            Ok(()) => true,
            Err(denied) => {
                log::error!("{}: {denied}", self.id);
                false
            }
        }
    }

    /// runc keeps a folder for each container that it knows.
    fn is_known(&self) -> bool {
        self.runc.root.join(&self.id).exists()
    }

    fn call<'a>(&'a self, log: &'a Path, abort: &'a Abort, limit: Duration) -> Call<'a> {
        let (runc, bundle, id) = (&self.runc, &*self.bundle, &*self.id);
        Call { runc, bundle, id, log, abort, limit, started: &|_| {} }
    }

    fn simple(&self, action: Action<'_>, text: &[u8], abort: &Abort) -> Result<(), Denied> {
        let log = self.bundle.join("log.json");
        self.call(&log, abort, FOR_EVER).run(action, Streams::Text(text))
    }

    /// Runs what makes a process, on that process's streams.
    fn run(&self, stdio: &Stdio, call: &Call<'_>, action: Action<'_>) -> Result<Kept, Denied> {
        let streams = stdio::Streams {
            stdio,
            terminal: None,
            owner: None,
            namespace: &self.namespace,
            id: &self.id,
        };
        let failed = |e: stdio::Error| Denied::new(Code::FailedPrecondition, chain(&e));
        if !stdio.terminal {
            let (ends, mut kept) = stdio::open(streams).map_err(failed)?;
            if matches!(action, Action::Exec { .. }) {
                // It runs before runc has ended, and would read the end of what nobody has opened yet.
                kept.hold_stdin();
            }
            for end in [&ends.stdin, &ends.stdout, &ends.stderr] {
                self.give(end);
            }
            call.run(action, Streams::Of(ends))?;
            return Ok(kept);
        }
        let no_terminal = |source| failed(stdio::Error::Terminal { source });
        let pending = stdio::terminal::expect(streams).map_err(failed)?;
        let console = Console::listen().map_err(no_terminal)?;
        call.run(action.with_console(Some(console.path())), Streams::Text(b""))?;
        let master = console.receive().map_err(no_terminal)?;
        pending.attach(master).map_err(failed)
    }

    /// To the user whom containerd's options name, so that a container in a user namespace can open
    /// its streams by their names, too.
    fn give(&self, end: &OwnedFd) {
        let is_pipe = rustix::fs::fstat(end)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if is_pipe && (self.io_uid, self.io_gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(self.io_uid), Gid::from_raw(self.io_gid));
            if let Err(errno) = rustix::fs::fchown(end.as_fd(), Some(uid), Some(gid)) {
                log::warn!("a stream of {} stays root's: {errno}", self.id);
            }
        }
    }
}

impl Runc {
    /// Ends and forgets a container that another process has made.
    pub(crate) fn delete_by_force(
        &self,
        id: &str,
        bundle: &Path,
        limit: Duration,
    ) -> Result<(), String> {
        if !self.binary.exists() {
            // The processes are dead and the cgroup goes without it; this is all it would know.
            return match std::fs::remove_dir_all(self.root.join(id)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
                _ => Ok(()),
            };
        }
        let abort = Abort::new().map_err(|e| e.to_string())?;
        let log = bundle.join("log.json");
        let call =
            Call { runc: self, bundle, id, log: &log, abort: &abort, limit, started: &|_| {} };
        let done = call.run(Action::Delete { force: true }, Streams::Text(b""));
        done.map_err(|denied| denied.sentence)
    }
}

/// The process whose pid runc has written down. It is our child, and its pid our own to wait for,
/// since runc has ended and we are the subreaper.
fn guest(pid_file: &Path) -> Result<Guest, Denied> {
    let failed = |why: String| {
        let sentence = format!("failed to retrieve OCI runtime container pid: {why}");
        Denied::new(Code::Unknown, sentence)
    };
    let text = std::fs::read_to_string(pid_file).map_err(|e| failed(e.to_string()))?;
    let pid: i32 = text.trim().parse().map_err(|_| failed(format!("{text:?}")))?;
    let opened = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match opened {
        Some(Ok(pidfd)) => Ok(Guest { pid: pid.unsigned_abs(), pidfd: Arc::new(pidfd) }),
        Some(Err(errno)) => Err(failed(errno.to_string())),
        None => Err(failed(format!("{text:?}"))),
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    // It may hold secrets of the container.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn cannot_note(error: std::io::Error) -> Denied {
    let sentence = format!("cannot write wherry.json into the bundle: {error}");
    Denied::new(Code::FailedPrecondition, sentence)
}
