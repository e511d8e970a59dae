//! The floor: a shim that only answers, to see what containerd itself costs.
//!
//! It mounts the root file system, forks a process into new mount, UTS, IPC and network namespaces, and kills
//! it when it is started. Whatever a real runtime takes longer than this is its own. Task v3, so containerd 2.x.
#![allow(unsafe_code)] // fork(2), twice, which no safe function offers.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use containerd_shim_protos::api::*;
use containerd_shim_protos::ttrpc::{Result as Answer, Server, TtrpcContext};
use containerd_shim_protos::{Task, create_task};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pause, setsid};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)).cloned().unwrap_or_default()
    };
    let socket = format!("/run/containerd/s/floor-{}-{}", option("-namespace"), option("-id"));
    let done = match words.last().map(String::as_str) {
        Some("start") => start(&socket),
        Some("delete") => fs::remove_file(&socket).or(Ok(())),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(socket: &str) -> Result<()> {
    // containerd 2.3 and later wait for their parameters to be read.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    fs::create_dir_all("/run/containerd/s")?;
    let listener = UnixListener::bind(socket).with_context(|| socket.to_string())?;
    // SAFETY: no thread has been started yet, so the child has everything that the parent has.
    if let ForkResult::Child = unsafe { fork() }? {
        serve(&listener)?;
    }
    write!(std::io::stdout(), r#"{{"version":3,"address":"unix://{socket}","protocol":"ttrpc"}}"#)?;
    Ok(())
}

fn serve(listener: &UnixListener) -> Result<()> {
    setsid()?;
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    let service = create_task(Arc::new(Floor::default()));
    let mut server = Server::new().add_listener(listener.as_raw_fd())?.register_service(service);
    server.start()?;
    loop {
        pause();
    }
}

struct Container {
    pid: Pid,
    ended: bool,
    rootfs: String,
}

#[derive(Default)]
struct Floor {
    containers: Mutex<HashMap<String, Container>>,
    ended: Condvar,
}

impl Floor {
    fn containers(&self) -> MutexGuard<'_, HashMap<String, Container>> {
        self.containers.lock().expect("no holder panics")
    }
}

impl Task for Floor {
    fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        let rootfs = format!("{}/rootfs", request.bundle);
        for m in &request.rootfs {
            let (source, kind) = (Some(m.source.as_str()), Some(m.type_.as_str()));
            let options = m.options.join(",");
            mount(source, rootfs.as_str(), kind, MsFlags::empty(), Some(options.as_str())).ok();
        }
        // SAFETY: the child only makes system calls, none of which take a lock of this process.
        let pid = match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => child,
            Ok(ForkResult::Child) => {
                let all = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
                unshare(all | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET).ok();
                loop {
                    pause();
                }
            }
            Err(_) => Pid::from_raw(0),
        };
        self.containers().insert(request.id, Container { pid, ended: false, rootfs });
        Ok(CreateTaskResponse { pid: pid.as_raw() as u32, ..Default::default() })
    }

    fn start(&self, _: &TtrpcContext, request: StartRequest) -> Answer<StartResponse> {
        let mut containers = self.containers();
        let Some(container) = containers.get_mut(&request.id) else {
            return Ok(StartResponse::new());
        };
        kill(container.pid, Signal::SIGKILL).ok();
        waitpid(container.pid, None).ok();
        container.ended = true;
        self.ended.notify_all();
        Ok(StartResponse { pid: container.pid.as_raw() as u32, ..Default::default() })
    }

    fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Answer<WaitResponse> {
        let mut containers = self.containers();
        while containers.get(&request.id).is_some_and(|container| !container.ended) {
            containers = self.ended.wait(containers).expect("no holder panics");
        }
        Ok(WaitResponse::new())
    }

    fn state(&self, _: &TtrpcContext, request: StateRequest) -> Answer<StateResponse> {
        let containers = self.containers();
        let container = containers.get(&request.id);
        let ended = container.is_none_or(|container| container.ended);
        Ok(StateResponse {
            pid: container.map_or(0, |container| container.pid.as_raw() as u32),
            id: request.id,
            status: if ended { Status::STOPPED } else { Status::CREATED }.into(),
            ..Default::default()
        })
    }

    fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Answer<DeleteResponse> {
        let Some(container) = self.containers().remove(&request.id) else {
            return Ok(DeleteResponse::new());
        };
        umount2(container.rootfs.as_str(), MntFlags::MNT_DETACH).ok();
        Ok(DeleteResponse { pid: container.pid.as_raw() as u32, ..Default::default() })
    }

    fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> Answer<ConnectResponse> {
        Ok(ConnectResponse { shim_pid: process::id(), ..Default::default() })
    }

    fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Answer<Empty> {
        // The answer has to get out first.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(1));
            process::exit(0)
        });
        Ok(Empty::new())
    }
}
