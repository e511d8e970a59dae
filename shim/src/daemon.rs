//! The shim itself: the owner of the ledger.
//!
//! ```text
//!  TaskService ── Input::Call ──┐
//!  jobs, waiters ─ Input::… ────┼──► owner: ledger.step ──► Effects::carry_out
//!                               │                               │ jobs off the loop
//!                               └───────────────────────────────┘
//! ```
//!
//! One thread runs all of it; whatever takes time runs on another and comes back as an input.

use std::collections::{HashMap, VecDeque};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use containerd_shim_protos::api::ProcessInfo;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::sandbox_api::CreateSandboxRequest;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use tokio::sync::{mpsc, oneshot};
use wherry_core::lifecycle::{
    Answer, Call, Denied, Event, Exit, Key, Ledger, PodReport, Report, Step, Ticket,
};
use wherry_core::plan::Terminal;

use crate::body::Product;
use crate::effects::Effects;
use crate::events::Publisher;
use crate::exec::{Given, Started};
use crate::pod::Holder;
use crate::protocol::connections::Connections;
use crate::protocol::sandbox;
use crate::protocol::service::{TaskService, services};
use crate::{installed, logging, reaper};

/// How long the last events may take to be delivered when the shim leaves.
const FLUSH: Duration = Duration::from_secs(3);

/// How long clients may take to hang up when the shim leaves.
const HANG_UP: Duration = Duration::from_millis(500);

/// More than the tasks that an answer passes through.
const TURNS: u32 = 16;

/// What the shim was started with.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) namespace: String,
    pub(crate) listener: UnixListener,
    pub(crate) socket: PathBuf,
    pub(crate) ttrpc_address: String,
    pub(crate) grpc_address: String,
    pub(crate) debug: bool,
    /// The runtime's options, for a sandbox: its containers bring theirs.
    pub(crate) options: Option<Any>,
}

/// What the owner hears.
#[derive(Debug)]
pub(crate) enum Input {
    Call {
        call: Call,
        payload: Payload,
        answer: oneshot::Sender<Reply>,
    },
    /// A step of creating came to its end.
    Stepped {
        id: String,
        step: Step,
        done: Result<Product, Option<Denied>>,
    },
    /// The guest ended, and this is what it had used.
    Exited {
        id: String,
        exit: Exit,
        oom: bool,
        used: Option<Any>,
    },
    /// An exec runs, or does not.
    ExecStarted {
        key: Key,
        started: Result<Started, Denied>,
    },
    Report {
        id: String,
        report: Report,
    },
    /// The pod's namespaces are there, or are not.
    Held {
        held: Result<Holder, Denied>,
    },
    OfPod {
        report: PodReport,
    },
    /// An effect that answers by itself has found out.
    Found {
        ticket: Ticket,
        reply: Reply,
    },
}

/// What a call carries that the ledger has no use for.
#[derive(Debug)]
pub(crate) enum Payload {
    None,
    Create(Option<Any>),
    Update(Option<Any>),
    Exec(Box<Given>),
    Resize(Terminal),
    Pod(Box<CreateSandboxRequest>),
}

#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Answer),
    Pids(Vec<ProcessInfo>),
    Stats(Box<Any>),
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Going {
    On,
    Leaving,
}

pub(crate) fn run(daemon: Daemon) -> Result<(), String> {
    let bundle = std::env::current_dir().map_err(|e| e.to_string())?;
    logging::init(&bundle, daemon.debug);
    installed::open_all();
    // The bundle is to be removed under us.
    let _ = std::env::set_current_dir("/");
    // What guests' hooks leave behind comes to us rather than to the node's init.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Blocking threads come and go with creations; their stacks should not stay.
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .map_err(|e| e.to_string())?;
    let served = runtime.block_on(serve(daemon));
    if let Err(why) = &served {
        log::error!("{why}");
    }
    // A thread that still waits for a program must not hold the shim.
    runtime.shutdown_background();
    served
}

async fn serve(daemon: Daemon) -> Result<(), String> {
    let (inputs, mut heard) = mpsc::unbounded_channel();
    let publisher = Publisher::new(Some(&daemon.ttrpc_address), &daemon.namespace);
    let mut effects =
        Effects::new(daemon.namespace, daemon.grpc_address, inputs.clone(), publisher.clone());
    effects.keep_options(daemon.options);
    let guests = effects.guests();
    tokio::spawn(async move {
        if let Err(error) = reaper::adopt(move |pid| guests.has(pid)).await {
            log::warn!("orphans stay: {error}");
        }
    });
    let connections = Connections::default();
    let listener = connections.listen(daemon.listener).map_err(|e| e.to_string())?;
    let mut server = Server::new().add_listener(listener);
    let tasks = services(TaskService { owner: inputs.clone() });
    for service in tasks.into_iter().chain([sandbox::service(inputs)]) {
        server = server.register_service(service);
    }
    server.start().await.map_err(|e| e.to_string())?;
    let mut owner = Owner::default();
    while let Some(input) = heard.recv().await {
        if owner.hear(input, &mut effects) == Going::Leaving {
            break;
        }
    }
    // First of all, so that a start for this pod makes a new shim instead of finding this one.
    let _ = std::fs::remove_file(&daemon.socket);
    // The answer to Shutdown is on its way through handler, connection and socket, none of which
    // waits for anything but its turn.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    publisher.flush(FLUSH).await;
    connections.closed(HANG_UP).await;
    Ok(())
}

/// The ledger and the calls that wait for it.
#[derive(Debug, Default)]
struct Owner {
    ledger: Ledger,
    tickets: Ticket,
    open: HashMap<Ticket, oneshot::Sender<Reply>>,
}

impl Owner {
    fn hear(&mut self, input: Input, effects: &mut Effects) -> Going {
        let event = match input {
            Input::Call { call, payload, answer } => {
                self.tickets += 1;
                let ticket = self.tickets;
                self.open.insert(ticket, answer);
                effects.remember(&call, payload);
                Event::Called { ticket, call }
            }
            Input::Stepped { id, step, done } => {
                let report = effects.stepped(&id, step, done);
                Event::Reported { id, report }
            }
            Input::Exited { id, exit, oom, used } => {
                effects.exited(&id, exit, used);
                Event::Reported { id, report: Report::Exited { exit, oom } }
            }
            Input::ExecStarted { key, started } => {
                let report = effects.exec_started(&key, started);
                Event::Reported { id: key.task, report }
            }
            Input::Report { id, report } => {
                if report == Report::Undone {
                    effects.forget(&id);
                }
                Event::Reported { id, report }
            }
            Input::Held { held } => Event::OfPod { report: effects.held(held) },
            Input::OfPod { report } => Event::OfPod { report },
            Input::Found { ticket, reply } => {
                self.answer(ticket, reply);
                return Going::On;
            }
        };
        self.step(event, effects)
    }

    fn step(&mut self, event: Event, effects: &mut Effects) -> Going {
        let mut going = Going::On;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let ticket = match &event {
                Event::Called { ticket, .. } => Some(*ticket),
                Event::Reported { .. } | Event::OfPod { .. } => None,
            };
            log::debug!("{event:?}");
            match (self.ledger.step(event), ticket) {
                (Ok(wanted), _) => {
                    for effect in wanted {
                        log::debug!("{effect:?}");
                        going = match effects.carry_out(effect, &mut events) {
                            Some(Done::Reply(ticket, reply)) => {
                                self.answer(ticket, reply);
                                going
                            }
                            Some(Done::Leave) => Going::Leaving,
                            None => going,
                        };
                    }
                }
                (Err(denied), Some(ticket)) => {
                    self.answer(ticket, Reply::Answer(Answer::Denied(denied)));
                }
                // The ledger denies calls only.
                (Err(denied), None) => log::error!("a report was denied: {denied}"),
            }
        }
        going
    }

    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(open) = self.open.remove(&ticket) {
            // Whoever called may be gone; what they called for is done all the same.
            let _ = open.send(reply);
        }
    }
}

/// What an effect leaves for the owner to do.
#[derive(Debug)]
pub(crate) enum Done {
    Reply(Ticket, Reply),
    Leave,
}
