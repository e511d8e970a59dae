//! Events for containerd: in order, each delivered, however long containerd is away.
//!
//! One queue and one task that empties it. An event that cannot be delivered stays at the head and
//! is tried again, so that nothing overtakes it. (The publisher of `containerd-shim` gives up after
//! five tries, puts failed events behind later ones, and cannot be flushed.)

use std::time::Duration;

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::{topics, ttrpc, types};
use tokio::sync::{mpsc, oneshot};
use wherry_core::lifecycle::{Key, Notice, RootMount, Time};

/// containerd answers at once, or it is not there.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The way to containerd's event service.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    namespace: String,
    queue: mpsc::UnboundedSender<Item>,
}

#[derive(Debug)]
enum Item {
    Event(Box<Envelope>),
    /// Answered once all that came before is delivered.
    Flushed(oneshot::Sender<()>),
}

impl Publisher {
    /// `address` is `TTRPC_ADDRESS`, with or without `unix://`; without one nobody listens.
    pub(crate) fn new(address: Option<&str>, namespace: &str) -> Publisher {
        let (queue, items) = mpsc::unbounded_channel();
        let address = address.filter(|address| !address.is_empty()).map(|address| {
            let path = address.strip_prefix("unix://").unwrap_or(address);
            format!("unix://{path}")
        });
        tokio::spawn(deliver(address, items));
        Publisher { namespace: namespace.to_owned(), queue }
    }

    /// Queues an event; returns at once. `now` is when it came about.
    pub(crate) fn publish(&self, notice: &Notice, now: Time) {
        let (topic, event) = event(notice);
        let envelope = Envelope {
            timestamp: timestamp(now),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(event),
            ..Default::default()
        };
        // The receiver lives as long as the runtime; after it nobody publishes.
        let _ = self.queue.send(Item::Event(Box::new(envelope)));
    }

    /// Waits until what was published so far is delivered, `limit` at most.
    pub(crate) async fn flush(&self, limit: Duration) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Item::Flushed(done)).is_ok() {
            let _ = tokio::time::timeout(limit, flushed).await;
        }
    }
}

async fn deliver(address: Option<String>, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut client = None;
    while let Some(item) = items.recv().await {
        match (item, &address) {
            (Item::Flushed(done), _) => drop(done.send(())),
            (Item::Event(envelope), Some(address)) => {
                forward(address, &mut client, *envelope).await;
            }
            (Item::Event(_), None) => {}
        }
    }
}

async fn forward(address: &str, client: &mut Option<EventsClient>, envelope: Envelope) {
    let topic = envelope.topic.clone();
    let request = ForwardRequest { envelope: MessageField::some(envelope), ..Default::default() };
    let mut pause = FIRST_PAUSE;
    loop {
        match try_forward(address, client, &request).await {
            Ok(()) => return,
            // containerd has read it and does not want it: it never will.
            Err(ttrpc::Error::RpcStatus(status)) if is_final(status.code()) => {
                log::error!("containerd refused the event {topic}: {}", status.message);
                return;
            }
            Err(error) => {
                log::debug!("event {topic} waits for containerd: {error}");
                *client = None;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn try_forward(
    address: &str,
    client: &mut Option<EventsClient>,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let connected = match client {
        Some(connected) => connected,
        None => client.insert(EventsClient::new(Client::connect(address).await?)),
    };
    let context = ttrpc::context::with_duration(FORWARD_TIMEOUT);
    connected.forward(context, request).await.map(drop)
}

fn is_final(code: ttrpc::Code) -> bool {
    matches!(
        code,
        ttrpc::Code::INVALID_ARGUMENT | ttrpc::Code::UNIMPLEMENTED | ttrpc::Code::PERMISSION_DENIED
    )
}

/// The topic and the event as containerd's `api/events/task.proto` has them.
fn event(notice: &Notice) -> (&'static str, Any) {
    match notice {
        Notice::Create { id, pid, creation } => {
            let io = TaskIO {
                stdin: creation.stdio.stdin.clone(),
                stdout: creation.stdio.stdout.clone(),
                stderr: creation.stdio.stderr.clone(),
                terminal: creation.stdio.terminal,
                ..Default::default()
            };
            let event = TaskCreate {
                container_id: id.clone(),
                bundle: creation.bundle.clone(),
                rootfs: creation.rootfs.iter().map(mount).collect(),
                io: MessageField::some(io),
                checkpoint: creation.checkpoint.clone(),
                pid: *pid,
                ..Default::default()
            };
            (topics::TASK_CREATE_EVENT_TOPIC, any("TaskCreate", &event))
        }
        Notice::Start { id, pid } => {
            let event = TaskStart { container_id: id.clone(), pid: *pid, ..Default::default() };
            (topics::TASK_START_EVENT_TOPIC, any("TaskStart", &event))
        }
        Notice::Exit { key, pid, exit } => {
            let event = TaskExit {
                container_id: key.task.clone(),
                id: process(key),
                pid: *pid,
                exit_status: exit.ended.status(),
                exited_at: timestamp(exit.at),
                ..Default::default()
            };
            (topics::TASK_EXIT_EVENT_TOPIC, any("TaskExit", &event))
        }
        Notice::Delete { key, pid, exit } => {
            let event = TaskDelete {
                container_id: key.task.clone(),
                // Go leaves it empty for init, and Docker takes what is not empty for an exec.
                id: key.exec.clone().unwrap_or_default(),
                pid: *pid,
                exit_status: exit.map_or(0, |exit| exit.ended.status()),
                exited_at: exit.map_or_else(MessageField::none, |exit| timestamp(exit.at)),
                ..Default::default()
            };
            (topics::TASK_DELETE_EVENT_TOPIC, any("TaskDelete", &event))
        }
        Notice::Oom { id } => {
            let event = TaskOOM { container_id: id.clone(), ..Default::default() };
            (topics::TASK_OOM_EVENT_TOPIC, any("TaskOOM", &event))
        }
        Notice::Paused { id } => {
            let event = TaskPaused { container_id: id.clone(), ..Default::default() };
            (topics::TASK_PAUSED_EVENT_TOPIC, any("TaskPaused", &event))
        }
        Notice::Resumed { id } => {
            let event = TaskResumed { container_id: id.clone(), ..Default::default() };
            (topics::TASK_RESUMED_EVENT_TOPIC, any("TaskResumed", &event))
        }
        Notice::ExecAdded { id, exec } => {
            let event = TaskExecAdded {
                container_id: id.clone(),
                exec_id: exec.clone(),
                ..Default::default()
            };
            (topics::TASK_EXEC_ADDED_EVENT_TOPIC, any("TaskExecAdded", &event))
        }
        Notice::ExecStarted { id, exec, pid } => {
            let event = TaskExecStarted {
                container_id: id.clone(),
                exec_id: exec.clone(),
                pid: *pid,
                ..Default::default()
            };
            (topics::TASK_EXEC_STARTED_EVENT_TOPIC, any("TaskExecStarted", &event))
        }
    }
}

/// The id of a process: an exec's own, or for init the container's.
fn process(key: &Key) -> String {
    key.exec.clone().unwrap_or_else(|| key.task.clone())
}

fn mount(mount: &RootMount) -> types::mount::Mount {
    types::mount::Mount {
        type_: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
        ..Default::default()
    }
}

/// containerd's typeurl takes the bare name of the message. The name is given rather than asked of
/// the message: reflection would parse every descriptor of the protocol, in every shim.
fn any(name: &str, event: &impl Message) -> Any {
    Any {
        type_url: format!("containerd.events.{name}"),
        // Writing to memory fails only for messages of over 2 GiB.
        value: event.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    }
}

pub(crate) fn timestamp(time: Time) -> MessageField<Timestamp> {
    MessageField::some(Timestamp { seconds: time.seconds, nanos: time.nanos, ..Default::default() })
}
