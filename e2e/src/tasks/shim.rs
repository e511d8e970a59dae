//! A shim, started in a bundle as containerd starts it, and asked on its own socket.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio as Streams;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use containerd_client::tonic::Code;
use containerd_shim_protos::api;
use containerd_shim_protos::bootstrap_api::BootstrapParams;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::ttrpc::{self, Client, proto::Request};
use containerd_shim_protos::types::mount::Mount;
use rustix::fs::{Mode, OFlags};

use super::{
    Call, Creation, Exit, Refused, State, Status, Stdio, Told, exec_of_details, some_time,
};
use crate::cgroups::RUNC_OPTIONS;
use crate::command::{self, patient, until};
use crate::containerd::Containerd;
use crate::rig::{Runtime, Version};

/// The longest that an answer may take.
const CALL: Duration = Duration::from_secs(60);
/// Longer than the sockets' own close takes, on a busy machine.
const LEAVE: Duration = Duration::from_secs(10);

/// The name under which the Task service is asked: the same calls under each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    V2,
    V3,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::V2 => "containerd.task.v2.Task",
            Service::V3 => "containerd.task.v3.Task",
        }
    }

    pub fn other(self) -> Service {
        match self {
            Service::V2 => Service::V3,
            Service::V3 => Service::V2,
        }
    }

    /// The one that a containerd of this version asks its own shim for.
    pub fn of(version: Version) -> Service {
        match version {
            Version::V1_7 => Service::V2,
            Version::V2_1 | Version::V2_4 => Service::V3,
        }
    }
}

/// A shim that serves a socket.
#[derive(Clone)]
pub struct Shim {
    client: Client,
    pub service: Service,
    socket: PathBuf,
    /// What it logs there is read by nobody, but there has to be somebody who could.
    _log: Arc<File>,
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shim at {}", self.socket.display())
    }
}

impl Shim {
    /// Runs `start` for the task `id` in its bundle, which has a `config.json` already.
    pub fn start(
        containerd: &Containerd,
        runtime: Runtime,
        service: Service,
        bundle: &Path,
        id: &str,
    ) -> Result<Shim> {
        let log = bundle.join("log");
        rustix::fs::mkfifoat(rustix::fs::CWD, &log, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let log = File::from(rustix::fs::open(&log, flags, Mode::empty())?);
        let said = run(containerd, runtime, bundle, id, "start")?;
        let Some(path) = address(&said) else {
            bail!("no address in what start answered: {:?}", String::from_utf8_lossy(&said));
        };
        let socket = containerd.place.inside(&path);
        let client = Client::connect(&format!("unix://{}", socket.display()))
            .map_err(|error| anyhow::anyhow!("{}: {error}", socket.display()))?;
        Ok(Shim { client, service, socket, _log: Arc::new(log) })
    }

    /// Whether the shim has taken its socket away, as it does when it leaves.
    pub fn leaves(&self) -> bool {
        until(LEAVE, || !self.socket.exists())
    }

    /// Runs the `delete` action, as containerd does after every task.
    pub fn clean(
        &self,
        containerd: &Containerd,
        runtime: Runtime,
        bundle: &Path,
        id: &str,
    ) -> Result<()> {
        run(containerd, runtime, bundle, id, "delete").map(drop)
    }

    fn call<R: Message>(
        &self,
        service: Service,
        method: &str,
        message: &impl Message,
    ) -> Result<R, Refused> {
        let mut request = Request::new();
        request.service = service.name().to_string();
        request.method = method.to_string();
        request.timeout_nano = i64::try_from(patient(CALL).as_nanos()).unwrap_or(i64::MAX);
        request.payload = message.write_to_bytes().map_err(broken)?;
        let answer = self.client.request(request).map_err(|error| match error {
            ttrpc::Error::RpcStatus(status) => {
                Refused { code: Code::from_i32(status.code.value()), message: status.message }
            }
            other => broken(other),
        })?;
        R::parse_from_bytes(&answer.payload).map_err(broken)
    }

    /// `Connect` by the other name of the service.
    pub fn connect_as_other(&self, task: &str) -> Result<Told, Refused> {
        self.connect(self.service.other(), task)
    }

    fn connect(&self, service: Service, task: &str) -> Result<Told, Refused> {
        let message = api::ConnectRequest { id: task.into(), ..Default::default() };
        let told: api::ConnectResponse = self.call(service, "Connect", &message)?;
        Ok(Told::Connected { shim: told.shim_pid, task: told.task_pid })
    }

    pub(super) fn ask(&self, task: &str, exec: &str, call: &Call) -> Result<Told, Refused> {
        let (id, exec_id) = (task.to_string(), exec.to_string());
        match call {
            Call::Create(creation) => self.create(id, creation),
            Call::Start => {
                let message = api::StartRequest { id, exec_id, ..Default::default() };
                let told: api::StartResponse = self.call(self.service, "Start", &message)?;
                Ok(Told::Pid(told.pid))
            }
            Call::State => {
                let message = api::StateRequest { id, exec_id, ..Default::default() };
                let told: api::StateResponse = self.call(self.service, "State", &message)?;
                Ok(Told::State(state(told)))
            }
            Call::Wait => {
                let message = api::WaitRequest { id, exec_id, ..Default::default() };
                let told: api::WaitResponse = self.call(self.service, "Wait", &message)?;
                Ok(exit(None, told.exit_status, told.exited_at))
            }
            Call::Kill { signal, all } => {
                let (signal, all) = (*signal, *all);
                self.done(
                    "Kill",
                    &api::KillRequest { id, exec_id, signal, all, ..Default::default() },
                )
            }
            Call::Delete => {
                let message = api::DeleteRequest { id, exec_id, ..Default::default() };
                let told: api::DeleteResponse = self.call(self.service, "Delete", &message)?;
                Ok(exit(Some(told.pid), told.exit_status, told.exited_at))
            }
            Call::Pids => self.pids(id),
            Call::Exec { process, stdio } => {
                let spec = json("Process", process);
                let Stdio { stdin, stdout, stderr, terminal } = stdio.clone();
                let message = api::ExecProcessRequest {
                    id,
                    exec_id,
                    spec,
                    stdin,
                    stdout,
                    stderr,
                    terminal,
                    ..Default::default()
                };
                self.done("Exec", &message)
            }
            Call::Resize { width, height } => {
                let (width, height) = (*width, *height);
                let message =
                    api::ResizePtyRequest { id, exec_id, width, height, ..Default::default() };
                self.done("ResizePty", &message)
            }
            Call::CloseIo { stdin } => {
                let stdin = *stdin;
                self.done(
                    "CloseIO",
                    &api::CloseIORequest { id, exec_id, stdin, ..Default::default() },
                )
            }
            Call::Pause => self.done("Pause", &api::PauseRequest { id, ..Default::default() }),
            Call::Resume => self.done("Resume", &api::ResumeRequest { id, ..Default::default() }),
            Call::Update(resources) => {
                let resources = json("LinuxResources", resources);
                let message = api::UpdateTaskRequest { id, resources, ..Default::default() };
                self.done("Update", &message)
            }
            Call::Stats => {
                let message = api::StatsRequest { id, ..Default::default() };
                let told: api::StatsResponse = self.call(self.service, "Stats", &message)?;
                Ok(Told::Stats(told.stats.type_url.clone()))
            }
            Call::Checkpoint(path) => {
                let path = path.display().to_string();
                let message = api::CheckpointTaskRequest { id, path, ..Default::default() };
                self.done("Checkpoint", &message)
            }
            Call::Connect => self.connect(self.service, task),
            Call::Shutdown => {
                self.done("Shutdown", &api::ShutdownRequest { id, ..Default::default() })
            }
        }
    }

    fn done(&self, method: &str, message: &impl Message) -> Result<Told, Refused> {
        let _: api::Empty = self.call(self.service, method, message)?;
        Ok(Told::Done)
    }

    fn create(&self, id: String, creation: &Creation) -> Result<Told, Refused> {
        let Stdio { stdin, stdout, stderr, terminal } = creation.stdio.clone();
        let rootfs = creation.rootfs.iter().map(|mount| Mount {
            type_: mount.r#type.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
            ..Default::default()
        });
        let message = api::CreateTaskRequest {
            id,
            bundle: creation.bundle.display().to_string(),
            rootfs: rootfs.collect(),
            stdin,
            stdout,
            stderr,
            terminal,
            options: creation.options.clone().map(runc_options).into(),
            ..Default::default()
        };
        let told: api::CreateTaskResponse = self.call(self.service, "Create", &message)?;
        Ok(Told::Pid(told.pid))
    }

    fn pids(&self, id: String) -> Result<Told, Refused> {
        let message = api::PidsRequest { id, ..Default::default() };
        let told: api::PidsResponse = self.call(self.service, "Pids", &message)?;
        let told = told.processes.into_iter().map(|process| {
            (process.pid, process.info.into_option().and_then(|any| exec_of_details(&any.value)))
        });
        Ok(Told::Pids(told.collect()))
    }
}

fn json(kind: &str, value: &[u8]) -> MessageField<Any> {
    let type_url = format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}");
    MessageField::some(Any { type_url, value: value.to_vec(), ..Default::default() })
}

fn runc_options(value: Vec<u8>) -> Any {
    Any { type_url: RUNC_OPTIONS.to_string(), value, ..Default::default() }
}

fn exit(pid: Option<u32>, status: u32, at: MessageField<Timestamp>) -> Told {
    let exited_at = at.into_option().and_then(|at| some_time(at.seconds));
    Told::Exit(Exit { pid, status, exited_at })
}

fn state(told: api::StateResponse) -> State {
    State {
        pid: told.pid,
        status: Status::from_number(told.status.value()),
        stdio: Stdio {
            stdin: told.stdin,
            stdout: told.stdout,
            stderr: told.stderr,
            terminal: told.terminal,
        },
        exit_status: told.exit_status,
        exited_at: told.exited_at.into_option().and_then(|at| some_time(at.seconds)),
        id: told.id,
    }
}

/// Not an answer at all: nobody's code, so none that an expectation could name by accident.
fn broken(error: impl std::fmt::Display) -> Refused {
    Refused { code: Code::DataLoss, message: error.to_string() }
}

/// Runs the shim's program for one of its actions and answers what it says on stdout.
fn run(
    containerd: &Containerd,
    runtime: Runtime,
    bundle: &Path,
    id: &str,
    action: &str,
) -> Result<Vec<u8>> {
    let place = &containerd.place;
    let (grpc, namespace) = (containerd.socket(), &place.tag);
    let ttrpc = format!("{}.ttrpc", grpc.display());
    let program = runtime.shim(containerd.version)?;
    let mut command = place.daemon("sh")?;
    // Entering the namespace has led away from here.
    command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(bundle).arg(&program);
    command.args(["-namespace", namespace, "-address"]).arg(&grpc);
    command.args(["-publish-binary", "/bin/false", "-id", id]);
    if action == "delete" {
        command.arg("-bundle").arg(bundle);
    }
    command.arg(action).env("PATH", containerd.search_path()).env("WHERRY_E2E", namespace);
    command.env("TTRPC_ADDRESS", &ttrpc).env("GRPC_ADDRESS", &grpc).env("NAMESPACE", namespace);
    command.env("MAX_SHIM_VERSION", "2");
    command.stdin(Streams::piped()).stdout(Streams::piped()).stderr(Streams::piped());
    let mut child = command.spawn().with_context(|| program.display().to_string())?;
    if let Some(mut stdin) = child.stdin.take()
        && action == "start"
        && containerd.version == Version::V2_4
    {
        // Since 2.3 there is a message; before, nothing at all where there are no options.
        let params = BootstrapParams {
            instance_id: id.to_string(),
            namespace: namespace.clone(),
            containerd_ttrpc_address: ttrpc,
            containerd_grpc_address: grpc.display().to_string(),
            ..Default::default()
        };
        stdin.write_all(&params.write_to_bytes()?)?;
    }
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    let code = command::wait(&mut child, CALL)?;
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut complaint)?;
    }
    if code != 0 {
        bail!("{} {action}: exit code {code}: {complaint}", program.display());
    }
    Ok(said)
}

/// The path of the socket, out of an answer that is bare, JSON or protobuf: only the first is text throughout,
/// and in none can a path be followed by a character that a path of ours has.
fn address(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let (_, after) = text.split_once("unix://")?;
    let end = after.find(|c: char| c.is_control() || c == '"').unwrap_or(after.len());
    Some(after[..end].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_every_dialect() {
        let check = |said: &[u8]| assert_eq!(address(said).as_deref(), Some("/run/s/1f"));
        check(b"unix:///run/s/1f\n");
        check(br#"{"version":3,"address":"unix:///run/s/1f","protocol":"ttrpc"}"#);
        check(b"\x08\x03\x12\x11unix:///run/s/1f\x1a\x05ttrpc");
        assert_eq!(address(b"nothing"), None);
    }
}
