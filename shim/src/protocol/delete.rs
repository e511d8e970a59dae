//! `delete`: cleans up after one container, with or without a shim alive.
//!
//! containerd runs this after every container, also when all went well, and as its only cleanup
//! when a shim died; it has five seconds and may come twice. All that is known is in the bundle:
//! the state file tells what the shim of this id left, and which runc knows it if it is native. Siblings of the pod are never touched.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use wherry_cache::{Cache, Digest};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::mounts::unmount_rootfs;

use super::socket;
use crate::args::Args;
use crate::lifeline::Process;
use crate::native::remove_dead_consoles;
use crate::state_file::{Filling, StateFile};

/// How long a killed process may take, of the five seconds that containerd gives.
const PATIENCE: Duration = Duration::from_secs(3);

/// What runc has even when that is used up: nobody else removes what it knows.
const LAST_CALL: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(|e| e.to_string())?,
    };
    // What takes no time comes first: containerd ends us when its five seconds are over, and then nobody else would.
    remove_dead_socket(&bundle);
    let state = StateFile::read(&bundle).filter(|state| state.id == args.id);
    let failed = state.as_ref().and_then(|state| clean(state, &bundle).err());
    let rootfs = bundle.join("rootfs");
    let failed = failed.or_else(|| unmount_rootfs(&rootfs).err().map(|e| e.sentence()));
    // Once more: a shim that lived a moment ago may be gone by now.
    remove_dead_socket(&bundle);
    if failed.is_none() {
        StateFile::remove(&bundle);
    }
    // containerd keeps what is on stdout for the answer, and logs stderr.
    if let Some(why) = failed {
        eprintln!("cleaning up after {} is not complete: {why}", args.id);
    }
    answer(state)
}

fn clean(state: &StateFile, bundle: &Path) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let cgroup = state.cgroup.clone().map(Cgroup::locate);
    let dying: Vec<OwnedFd> = state.worker.iter().chain(&state.guest).filter_map(kill).collect();
    // Before anybody is waited for: what is frozen dies only when it goes on.
    let killed = cgroup.as_ref().map_or(Ok(()), Cgroup::kill_all);
    dying.iter().for_each(|process| wait(process, deadline));
    let mut failed = killed.map_err(|e| e.sentence());
    failed = failed.and(state.filling.as_ref().map_or(Ok(()), abandon));
    if let Some(runc) = &state.native {
        remove_dead_consoles();
        let left = deadline.saturating_duration_since(Instant::now()).max(LAST_CALL);
        failed = failed.and(runc.delete_by_force(&state.id, bundle, left));
    }
    if let Some(cgroup) = &cgroup {
        // Once more: runc may have been killed while it made processes.
        let killed = cgroup.kill_all();
        failed = failed.and(cgroup.delete().and(killed).map_err(|e| e.sentence()));
    }
    if let Some(rootfs) = &state.rootfs {
        failed = failed.and(unmount_rootfs(rootfs).map_err(|e| e.sentence()));
    }
    failed
}

/// The lock of a shim that was killed while it had its program compiled.
fn abandon(filling: &Filling) -> Result<(), String> {
    // As large as it is: this is not the time to make room.
    let cache = Cache::open(&filling.cache, u64::MAX).map_err(|e| e.to_string())?;
    let digest = filling.digest.parse::<Digest>().map_err(|e| e.to_string())?;
    cache.abandon(&filling.engine, &digest).map_err(|e| e.to_string())
}

/// Kills the process unless its pid has become somebody else's.
fn kill(process: &Process) -> Option<OwnedFd> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The pid can't be given away while this is open and the process is the one we look at.
    if !process.is_alive() {
        return None;
    }
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    Some(pidfd)
}

/// Until the process is gone.
fn wait(pidfd: &OwnedFd, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = rustix::event::Timespec::try_from(left).ok();
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
}

/// The socket belongs to the pod: it goes with the last, when nobody listens any more.
fn remove_dead_socket(bundle: &Path) {
    if let Ok(address) = std::fs::read_to_string(bundle.join("address")) {
        let path: PathBuf = socket::path(address.trim());
        let _ = socket::remove_dead(&path);
    }
}

fn answer(state: Option<StateFile>) -> Result<(), String> {
    let pid = state.as_ref().and_then(|s| s.guest.as_ref()).map_or(0, |guest| guest.pid);
    let exit = state.and_then(|state| state.exit);
    let (status, at) = exit.map_or_else(|| (137, crate::lifeline::now()), |e| (e.status, e.at()));
    let response = DeleteResponse {
        pid,
        exit_status: status,
        exited_at: Some(Timestamp { seconds: at.seconds, nanos: at.nanos, ..Timestamp::default() })
            .into(),
        ..DeleteResponse::default()
    };
    let bytes = response.write_to_bytes().map_err(|e| e.to_string())?;
    std::io::stdout().write_all(&bytes).map_err(|e| e.to_string())
}
