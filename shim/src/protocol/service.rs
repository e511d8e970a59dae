//! The Task service: messages in, messages out, and nothing decided.
//!
//! Every call goes to the ledger's owner ([`crate::daemon`]) and waits for its answer. ttrpc drops
//! a handler when its client goes away; what was called for goes on all the same, since the handler
//! only listens for the answer.
//!
//! Versions 2 and 3 of the service are the same messages under two names (containerd
//! `api/runtime/task/{v2,v3}/shim.proto`), so both are served by one implementation: containerd 1.7
//! asks for the first, and what a newer one asks for depends on what an older shim once answered.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc::asynchronous::{Service, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code as Ttrpc};
use tokio::sync::{mpsc, oneshot};
use wherry_core::lifecycle::{Answer, Call, ExecCall, TaskCall};

use super::messages;
use crate::daemon::{Input, Payload, Reply};

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

#[derive(Clone, Debug)]
pub(crate) struct TaskService {
    pub(crate) owner: mpsc::UnboundedSender<Input>,
}

pub(crate) fn services(service: TaskService) -> [HashMap<String, Service>; 2] {
    let service: Arc<dyn Task + Send + Sync> = Arc::new(service);
    let v3 = create_task(Arc::clone(&service));
    let mut v2 = create_task(service);
    let renamed = v2.remove(V3).map(|methods| (V2.to_owned(), methods));
    [v3, renamed.into_iter().collect()]
}

/// Asks the owner of the ledger, and waits for the answer.
pub(super) async fn ask(
    owner: &mpsc::UnboundedSender<Input>,
    call: Call,
    payload: Payload,
) -> ttrpc::Result<Reply> {
    let (answer, answered) = oneshot::channel();
    let input = Input::Call { call, payload, answer };
    let leaving = |_| ttrpc::error::get_rpc_status(Ttrpc::UNAVAILABLE, "the shim is leaving");
    owner.send(input).map_err(|_| leaving(()))?;
    match answered.await.map_err(|_| leaving(()))? {
        Reply::Answer(Answer::Denied(denied)) => Err(messages::error(&denied)),
        reply => Ok(reply),
    }
}

impl TaskService {
    async fn call(&self, call: Call, payload: Payload) -> ttrpc::Result<Reply> {
        ask(&self.owner, call, payload).await
    }

    /// To the exec of this id, or with none to the task itself.
    async fn to(
        &self,
        id: String,
        exec: String,
        task: TaskCall,
        of_exec: ExecCall,
    ) -> ttrpc::Result<Reply> {
        let call = match exec.is_empty() {
            true => Call::Task { id, call: task },
            false => Call::Exec { id, exec, call: of_exec },
        };
        self.call(call, Payload::None).await
    }

    async fn to_task(&self, id: String, call: TaskCall) -> ttrpc::Result<Reply> {
        self.call(Call::Task { id, call }, Payload::None).await
    }
}

#[async_trait]
impl Task for TaskService {
    async fn state(&self, _: &TtrpcContext, r: StateRequest) -> ttrpc::Result<StateResponse> {
        match self.to(r.id, r.exec_id, TaskCall::State, ExecCall::State).await? {
            Reply::Answer(Answer::State(snapshot)) => Ok(messages::state(*snapshot)),
            other => Err(unexpected(&other)),
        }
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        r: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let call = Call::Create { id: r.id.clone(), creation: messages::creation(&r) };
        let pid = pid(self.call(call, Payload::Create(r.options.into_option())).await?)?;
        Ok(CreateTaskResponse { pid, ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, r: StartRequest) -> ttrpc::Result<StartResponse> {
        let pid = pid(self.to(r.id, r.exec_id, TaskCall::Start, ExecCall::Start).await?)?;
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn delete(&self, _: &TtrpcContext, r: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        match self.to(r.id, r.exec_id, TaskCall::Delete, ExecCall::Delete).await? {
            Reply::Answer(Answer::Deleted { pid, exit }) => Ok(DeleteResponse {
                pid,
                exit_status: exit.map_or(0, |exit| exit.ended.status()),
                exited_at: messages::exited_at(exit),
                ..DeleteResponse::default()
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn pids(&self, _: &TtrpcContext, r: PidsRequest) -> ttrpc::Result<PidsResponse> {
        match self.to_task(r.id, TaskCall::Pids).await? {
            Reply::Pids(processes) => Ok(PidsResponse { processes, ..PidsResponse::default() }),
            other => Err(unexpected(&other)),
        }
    }

    async fn pause(&self, _: &TtrpcContext, r: PauseRequest) -> ttrpc::Result<Empty> {
        empty(self.to_task(r.id, TaskCall::Pause).await?)
    }

    async fn resume(&self, _: &TtrpcContext, r: ResumeRequest) -> ttrpc::Result<Empty> {
        empty(self.to_task(r.id, TaskCall::Resume).await?)
    }

    async fn checkpoint(&self, _: &TtrpcContext, r: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        empty(self.to_task(r.id, TaskCall::Checkpoint).await?)
    }

    async fn kill(&self, _: &TtrpcContext, r: KillRequest) -> ttrpc::Result<Empty> {
        let (signal, all) = (r.signal, r.all);
        let call = (TaskCall::Kill { signal, all }, ExecCall::Kill { signal });
        empty(self.to(r.id, r.exec_id, call.0, call.1).await?)
    }

    async fn exec(&self, _: &TtrpcContext, r: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let process = messages::process(&r).map_err(|denied| messages::error(&denied))?;
        let stdio = messages::exec_stdio(&r);
        let call = Call::Task { id: r.id, call: TaskCall::Exec { exec: r.exec_id, stdio } };
        empty(self.call(call, Payload::Exec(Box::new(process))).await?)
    }

    async fn resize_pty(&self, _: &TtrpcContext, r: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let size = messages::size(&r).map_err(|denied| messages::error(&denied))?;
        let call = match r.exec_id.is_empty() {
            true => Call::Task { id: r.id, call: TaskCall::Resize },
            false => Call::Exec { id: r.id, exec: r.exec_id, call: ExecCall::Resize },
        };
        empty(self.call(call, Payload::Resize(size)).await?)
    }

    async fn close_io(&self, _: &TtrpcContext, r: CloseIORequest) -> ttrpc::Result<Empty> {
        if !r.stdin {
            return Ok(Empty::default());
        }
        empty(self.to(r.id, r.exec_id, TaskCall::CloseStdin, ExecCall::CloseStdin).await?)
    }

    async fn update(&self, _: &TtrpcContext, r: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let call = Call::Task { id: r.id, call: TaskCall::Update };
        empty(self.call(call, Payload::Update(r.resources.into_option())).await?)
    }

    async fn wait(&self, _: &TtrpcContext, r: WaitRequest) -> ttrpc::Result<WaitResponse> {
        match self.to(r.id, r.exec_id, TaskCall::Wait, ExecCall::Wait).await? {
            Reply::Answer(Answer::Exit(exit)) => Ok(WaitResponse {
                exit_status: exit.ended.status(),
                exited_at: messages::timestamp(exit.at),
                ..WaitResponse::default()
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn stats(&self, _: &TtrpcContext, r: StatsRequest) -> ttrpc::Result<StatsResponse> {
        match self.to_task(r.id, TaskCall::Stats).await? {
            Reply::Stats(stats) => Ok(stats_response(*stats)),
            other => Err(unexpected(&other)),
        }
    }

    async fn connect(&self, _: &TtrpcContext, r: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        match self.call(Call::Connect { id: r.id }, Payload::None).await? {
            Reply::Answer(Answer::Connected(task_pid)) => Ok(ConnectResponse {
                shim_pid: std::process::id(),
                task_pid,
                version: env!("CARGO_PKG_VERSION").into(),
                ..ConnectResponse::default()
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        empty(self.call(Call::Shutdown, Payload::None).await?)
    }
}

fn stats_response(stats: Any) -> StatsResponse {
    StatsResponse { stats: MessageField::some(stats), ..StatsResponse::default() }
}

fn empty(reply: Reply) -> ttrpc::Result<Empty> {
    match reply {
        Reply::Answer(Answer::Empty) => Ok(Empty::default()),
        other => Err(unexpected(&other)),
    }
}

fn pid(reply: Reply) -> ttrpc::Result<u32> {
    match reply {
        Reply::Answer(Answer::Pid(pid)) => Ok(pid),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(reply: &Reply) -> ttrpc::Error {
    ttrpc::error::get_rpc_status(
        Ttrpc::INTERNAL,
        format!("the shim answered something else: {reply:?}"),
    )
}
