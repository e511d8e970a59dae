//! containerd's API, method by method, as plain calls: what `ctr` does in one go is here in its steps, so that
//! a test can look between them and a benchmark can time them.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::snapshots;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Status};
use containerd_client::types::Mount;
use containerd_shim_protos::protobuf::CodedOutputStream;
use prost_types::Any;

use crate::cgroups::RUNC_OPTIONS;
use crate::command::{patient, until};

pub use containerd_client::types::v1::Status as TaskStatus;

/// One for the whole process: calls are short, and tests are threads.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("threads can be started")
});

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// The longest that any call but `wait` may take.
const CALL: Duration = Duration::from_secs(60);

/// What containerd refuses, with its code and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// Options of containerd's own shim, as containerd wants them.
pub fn runc_options(value: Vec<u8>) -> Any {
    Any { type_url: RUNC_OPTIONS.to_string(), value }
}

/// Options of any other shim, as CRI and Docker pass on what the administrator wrote for it:
/// `runtimeoptions.v1.Options`, whose `config_body` is the field 3.
pub fn text_options(toml: &str) -> Any {
    let mut value = Vec::new();
    let mut message = CodedOutputStream::vec(&mut value);
    let written = message.write_bytes(3, toml.as_bytes()).and_then(|()| message.flush());
    drop(message);
    written.expect("a vector takes everything");
    Any { type_url: "runtimeoptions.v1.Options".to_string(), value }
}

type Answer<T> = std::result::Result<T, Refused>;

/// A container, before there is a task.
#[derive(Clone, Debug)]
pub struct NewContainer {
    pub id: String,
    pub image: String,
    pub runtime: String,
    pub runtime_options: Option<Any>,
    pub spec: serde_json::Value,
    pub labels: Vec<(String, String)>,
}

/// Paths of the FIFOs of a task; an empty one is not wanted.
#[derive(Clone, Debug, Default)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    namespace: String,
}

impl Client {
    pub fn connect(socket: &Path, namespace: &str) -> Result<Client> {
        let connected = block_on(containerd_client::connect(socket));
        let channel = connected.with_context(|| socket.display().to_string())?;
        Ok(Client { channel, namespace: namespace.to_string() })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = self.namespace.parse().expect("a namespace is ASCII");
        request.metadata_mut().insert("containerd-namespace", namespace);
        request
    }

    pub(crate) fn call<T, R, F>(&self, message: T, send: impl FnOnce(Request<T>) -> F) -> Answer<R>
    where
        F: Future<Output = std::result::Result<containerd_client::tonic::Response<R>, Status>>,
    {
        self.call_within(CALL, message, send)
    }

    fn call_within<T, R, F>(
        &self,
        limit: Duration,
        message: T,
        send: impl FnOnce(Request<T>) -> F,
    ) -> Answer<R>
    where
        F: Future<Output = std::result::Result<containerd_client::tonic::Response<R>, Status>>,
    {
        let (answer, limit) = (send(self.request(message)), patient(limit));
        let answer = block_on(async { tokio::time::timeout(limit, answer).await });
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                Err(Refused { code: status.code(), message: status.message().to_string() })
            }
            Err(_) => Err(Refused {
                code: Code::DeadlineExceeded,
                message: format!("no answer within {limit:?}"),
            }),
        }
    }

    pub(crate) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    pub fn version(&self) -> Answer<String> {
        let mut client = VersionClient::new(self.channel.clone());
        block_on(async { client.version(()).await.map(|answer| answer.into_inner().version) })
            .map_err(|status| Refused { code: status.code(), message: status.message().into() })
    }

    pub fn create_container(&self, new: NewContainer) -> Answer<()> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_string(),
            value: new.spec.to_string().into_bytes(),
        };
        let container = api::Container {
            id: new.id.clone(),
            image: new.image,
            runtime: Some(Runtime { name: new.runtime, options: new.runtime_options }),
            spec: Some(spec),
            snapshotter: "overlayfs".to_string(),
            snapshot_key: new.id,
            labels: new.labels.into_iter().collect(),
            ..Default::default()
        };
        let message = api::CreateContainerRequest { container: Some(container) };
        let mut client = ContainersClient::new(self.channel.clone());
        self.call(message, |request| async move { client.create(request).await }).map(drop)
    }

    pub fn delete_container(&self, id: &str) -> Answer<()> {
        let message = api::DeleteContainerRequest { id: id.to_string() };
        let mut client = ContainersClient::new(self.channel.clone());
        self.call(message, |request| async move { client.delete(request).await }).map(drop)
    }

    /// Ids of all containers.
    pub fn containers(&self) -> Answer<Vec<String>> {
        let message = api::ListContainersRequest { filters: Vec::new() };
        let mut client = ContainersClient::new(self.channel.clone());
        let answer = self.call(message, |request| async move { client.list(request).await })?;
        Ok(answer.containers.into_iter().map(|container| container.id).collect())
    }

    /// A writable snapshot over the layers of an image; empty without a `parent`.
    pub fn prepare_snapshot(&self, key: &str, parent: &str) -> Answer<Vec<Mount>> {
        let message = snapshots::PrepareSnapshotRequest {
            snapshotter: "overlayfs".to_string(),
            key: key.to_string(),
            parent: parent.to_string(),
            ..Default::default()
        };
        let mut client = SnapshotsClient::new(self.channel.clone());
        let answer = self.call(message, |request| async move { client.prepare(request).await })?;
        Ok(answer.mounts)
    }

    pub fn remove_snapshot(&self, key: &str) -> Answer<()> {
        let message = snapshots::RemoveSnapshotRequest {
            snapshotter: "overlayfs".to_string(),
            key: key.to_string(),
        };
        let mut client = SnapshotsClient::new(self.channel.clone());
        self.call(message, |request| async move { client.remove(request).await }).map(drop)
    }

    /// The pid of the new task.
    pub fn create_task(&self, id: &str, rootfs: Vec<Mount>, stdio: &Stdio) -> Answer<u32> {
        let message = api::CreateTaskRequest {
            container_id: id.to_string(),
            rootfs,
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            ..Default::default()
        };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.create(request).await })?;
        Ok(answer.pid)
    }

    pub fn start(&self, id: &str) -> Answer<u32> {
        let message = api::StartRequest { container_id: id.to_string(), exec_id: String::new() };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.start(request).await })?;
        Ok(answer.pid)
    }

    /// The exit code, if the task ends within `limit`.
    pub fn wait(&self, id: &str, limit: Duration) -> Answer<u32> {
        let message = api::WaitRequest { container_id: id.to_string(), exec_id: String::new() };
        let mut client = self.tasks();
        let sent = |request| async move { client.wait(request).await };
        Ok(self.call_within(limit, message, sent)?.exit_status)
    }

    pub fn kill(&self, id: &str, signal: u32) -> Answer<()> {
        let message = api::KillRequest {
            container_id: id.to_string(),
            exec_id: String::new(),
            signal,
            all: false,
        };
        let mut client = self.tasks();
        self.call(message, |request| async move { client.kill(request).await }).map(drop)
    }

    /// The exit code that containerd remembers.
    pub fn delete_task(&self, id: &str) -> Answer<u32> {
        let message = api::DeleteTaskRequest { container_id: id.to_string() };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.delete(request).await })?;
        Ok(answer.exit_status)
    }

    pub fn close_stdin(&self, id: &str) -> Answer<()> {
        let message = api::CloseIoRequest {
            container_id: id.to_string(),
            exec_id: String::new(),
            stdin: true,
        };
        let mut client = self.tasks();
        self.call(message, |request| async move { client.close_io(request).await }).map(drop)
    }

    /// Status, pid and exit code.
    pub fn state(&self, id: &str) -> Answer<(TaskStatus, u32, u32)> {
        let message = api::GetRequest { container_id: id.to_string(), exec_id: String::new() };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.get(request).await })?;
        let process = answer.process.unwrap_or_default();
        Ok((process.status(), process.pid, process.exit_status))
    }

    pub fn pids(&self, id: &str) -> Answer<Vec<u32>> {
        let message = api::ListPidsRequest { container_id: id.to_string() };
        let mut client = self.tasks();
        let answer =
            self.call(message, |request| async move { client.list_pids(request).await })?;
        Ok(answer.processes.into_iter().map(|process| process.pid).collect())
    }

    /// The type and the bytes of a task's metrics.
    pub fn metrics(&self, id: &str) -> Answer<Any> {
        let message = api::MetricsRequest { filters: vec![format!("id=={id}")] };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.metrics(request).await })?;
        let data = answer.metrics.into_iter().find_map(|metric| metric.data);
        data.ok_or_else(|| Refused { code: Code::NotFound, message: format!("no metrics of {id}") })
    }

    pub fn exec(&self, id: &str, exec_id: &str, process: serde_json::Value) -> Answer<()> {
        let message = api::ExecProcessRequest {
            container_id: id.to_string(),
            exec_id: exec_id.to_string(),
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_string(),
                value: process.to_string().into_bytes(),
            }),
            ..Default::default()
        };
        let mut client = self.tasks();
        self.call(message, |request| async move { client.exec(request).await }).map(drop)
    }

    /// Ids of all tasks.
    pub fn task_ids(&self) -> Answer<Vec<String>> {
        let message = api::ListTasksRequest { filter: String::new() };
        let mut client = self.tasks();
        let answer = self.call(message, |request| async move { client.list(request).await })?;
        Ok(answer.tasks.into_iter().map(|task| task.id).collect())
    }

    /// Follows the events of our namespace from now on.
    pub fn events(&self) -> Answer<Events> {
        let filter = format!("namespace=={},topic~=^/tasks/", self.namespace);
        let message = api::SubscribeRequest { filters: vec![filter] };
        let mut client = EventsClient::new(self.channel.clone());
        let request = self.request(message);
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let into = seen.clone();
        // The stream has no end and needs no limit. It does not even begin before there is an event to be told.
        let follower = RUNTIME.spawn(async move {
            let mut stream = match client.subscribe(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return eprintln!("events: {status}"),
            };
            while let Ok(Some(envelope)) = stream.message().await {
                let payload = envelope.event.unwrap_or_default();
                into.lock().expect("no holder panics").push(Event::new(&envelope.topic, &payload));
            }
        });
        let events = Events { seen, follower };
        let mut heard = Ok(());
        let listens = until(CALL, || {
            heard = self.publish("/tasks/listening");
            heard.is_err() || !events.of("").is_empty()
        });
        heard?;
        if !listens {
            let message = "containerd tells no events".to_string();
            return Err(Refused { code: Code::DeadlineExceeded, message });
        }
        Ok(events)
    }

    /// An event that says nothing but its topic.
    fn publish(&self, topic: &str) -> Answer<()> {
        let event = Some(Any { type_url: "wherry.test/nothing".to_string(), value: Vec::new() });
        let message = api::PublishRequest { topic: topic.to_string(), event };
        let mut client = EventsClient::new(self.channel.clone());
        self.call(message, |request| async move { client.publish(request).await }).map(drop)
    }
}

/// One event of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `create`, `start`, `exit`, `delete`, `oom`, …
    pub what: String,
    pub container: String,
    /// The whole message, as containerd's `api/events/task.proto` has it.
    pub payload: Vec<u8>,
}

impl Event {
    fn new(topic: &str, payload: &Any) -> Event {
        Event {
            what: topic.trim_start_matches("/tasks/").to_string(),
            // Every event of a task has the container's id as field 1, a string.
            container: first_string(&payload.value).unwrap_or_default(),
            payload: payload.value.clone(),
        }
    }
}

pub(crate) fn first_string(message: &[u8]) -> Option<String> {
    let (&tag, rest) = message.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if tag != 0x0a || length > 127 {
        return None;
    }
    String::from_utf8(rest.get(..usize::from(length))?.to_vec()).ok()
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    seen: Arc<Mutex<Vec<Event>>>,
    follower: tokio::task::JoinHandle<()>,
}

impl Events {
    /// What has happened to `container` so far, in order.
    pub fn of(&self, container: &str) -> Vec<String> {
        self.whole(container).into_iter().map(|event| event.what).collect()
    }

    /// As [`Events::of`], with all that was said.
    pub fn whole(&self, container: &str) -> Vec<Event> {
        let seen = self.seen.lock().expect("no holder panics");
        seen.iter().filter(|event| event.container == container).cloned().collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.follower.abort();
    }
}
