//! The calls of a task as containerd's own clients make them.

use containerd_client::services::v1 as api;
use containerd_client::tonic::Code;
use prost_types::{Any, Timestamp};

use super::{Call, Exit, Refused, State, Status, Stdio, Told, exec_of_details, some_time};
use crate::client::Client;

const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// containerd, asked through its `Tasks` service.
#[derive(Clone, Debug)]
pub struct Daemon(pub Client);

impl Daemon {
    pub(super) fn ask(&self, task: &str, exec: &str, call: &Call) -> Result<Told, Refused> {
        let (container_id, exec_id) = (task.to_string(), exec.to_string());
        let client = &self.0;
        let mut tasks = client.tasks();
        match call {
            Call::Create(creation) => {
                let pid = client.create_task(task, creation.rootfs.clone(), &creation.stdio)?;
                Ok(Told::Pid(pid))
            }
            Call::Start => {
                let message = api::StartRequest { container_id, exec_id };
                let told = client.call(message, |r| async move { tasks.start(r).await })?;
                Ok(Told::Pid(told.pid))
            }
            Call::State => {
                let message = api::GetRequest { container_id, exec_id };
                let told = client.call(message, |r| async move { tasks.get(r).await })?;
                Ok(Told::State(state(told.process.unwrap_or_default())))
            }
            Call::Wait => {
                let message = api::WaitRequest { container_id, exec_id };
                let told = client.call(message, |r| async move { tasks.wait(r).await })?;
                Ok(exit(None, told.exit_status, told.exited_at))
            }
            Call::Kill { signal, all } => {
                let (signal, all) = (*signal, *all);
                let message = api::KillRequest { container_id, exec_id, signal, all };
                done(client.call(message, |r| async move { tasks.kill(r).await }))
            }
            Call::Delete if exec.is_empty() => {
                let message = api::DeleteTaskRequest { container_id };
                let told = client.call(message, |r| async move { tasks.delete(r).await })?;
                Ok(exit(Some(told.pid), told.exit_status, told.exited_at))
            }
            Call::Delete => {
                let message = api::DeleteProcessRequest { container_id, exec_id };
                let told =
                    client.call(message, |r| async move { tasks.delete_process(r).await })?;
                Ok(exit(Some(told.pid), told.exit_status, told.exited_at))
            }
            Call::Pids => {
                let message = api::ListPidsRequest { container_id };
                let told = client.call(message, |r| async move { tasks.list_pids(r).await })?;
                let told = told.processes.into_iter().map(|process| {
                    (process.pid, process.info.and_then(|info| exec_of_details(&info.value)))
                });
                Ok(Told::Pids(told.collect()))
            }
            Call::Exec { process, stdio } => {
                let spec = Some(any(PROCESS, process));
                let Stdio { stdin, stdout, stderr, terminal } = stdio.clone();
                let message = api::ExecProcessRequest {
                    container_id,
                    exec_id,
                    spec,
                    stdin,
                    stdout,
                    stderr,
                    terminal,
                };
                done(client.call(message, |r| async move { tasks.exec(r).await }))
            }
            Call::Resize { width, height } => {
                let (width, height) = (*width, *height);
                let message = api::ResizePtyRequest { container_id, exec_id, width, height };
                done(client.call(message, |r| async move { tasks.resize_pty(r).await }))
            }
            Call::CloseIo { stdin } => {
                let message = api::CloseIoRequest { container_id, exec_id, stdin: *stdin };
                done(client.call(message, |r| async move { tasks.close_io(r).await }))
            }
            Call::Pause => {
                let message = api::PauseTaskRequest { container_id };
                done(client.call(message, |r| async move { tasks.pause(r).await }))
            }
            Call::Resume => {
                let message = api::ResumeTaskRequest { container_id };
                done(client.call(message, |r| async move { tasks.resume(r).await }))
            }
            Call::Update(resources) => {
                let resources = Some(any(RESOURCES, resources));
                let message =
                    api::UpdateTaskRequest { container_id, resources, ..Default::default() };
                done(client.call(message, |r| async move { tasks.update(r).await }))
            }
            // What this API has of metrics is a list, which leaves out whatever failed.
            Call::Stats => Ok(Told::Stats(client.metrics(task)?.type_url)),
            Call::Checkpoint(_) => {
                let message = api::CheckpointTaskRequest { container_id, ..Default::default() };
                let told = client.call(message, |r| async move { tasks.checkpoint(r).await });
                told.map(|_| Told::Done)
            }
            Call::Connect | Call::Shutdown => Err(Refused {
                code: Code::Unimplemented,
                message: "containerd asks this of a shim, and nobody asks it of containerd".into(),
            }),
        }
    }
}

fn any(type_url: &str, value: &[u8]) -> Any {
    Any { type_url: type_url.into(), value: value.to_vec() }
}

fn done(answer: Result<(), Refused>) -> Result<Told, Refused> {
    answer.map(|()| Told::Done)
}

fn exit(pid: Option<u32>, status: u32, at: Option<Timestamp>) -> Told {
    Told::Exit(Exit { pid, status, exited_at: at.and_then(|at| some_time(at.seconds)) })
}

fn state(process: containerd_client::types::v1::Process) -> State {
    State {
        pid: process.pid,
        status: Status::from_number(process.status),
        stdio: Stdio {
            stdin: process.stdin,
            stdout: process.stdout,
            stderr: process.stderr,
            terminal: process.terminal,
        },
        exit_status: process.exit_status,
        exited_at: process.exited_at.and_then(|at| some_time(at.seconds)),
        id: process.id,
    }
}
