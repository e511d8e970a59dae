//! The Sandbox service (containerd, `api/runtime/sandbox/v1/sandbox.proto`): messages in, messages out, and nothing
//! decided.
//!
//! containerd asks it of handlers with `sandboxer = "shim"`, on the socket of the Task service. What it does not have
//! (`UpdateSandbox`, since 2.3) is answered with UNIMPLEMENTED, which containerd expects.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::sandbox_api::*;
use containerd_shim_protos::sandbox_async::{Sandbox, create_sandbox};
use containerd_shim_protos::ttrpc::{self, asynchronous::Service, asynchronous::TtrpcContext};
use containerd_shim_protos::types::platform;
use tokio::sync::mpsc;
use wherry_core::image::Platform;
use wherry_core::lifecycle::{Answer, Call, PodCall, PodSnapshot};

use super::messages;
use super::service::{ask, unexpected};
use crate::daemon::{Input, Payload, Reply};
use crate::lifeline::now;

/// What CRI calls the states of a sandbox.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

struct SandboxService {
    owner: mpsc::UnboundedSender<Input>,
}

pub(crate) fn service(owner: mpsc::UnboundedSender<Input>) -> HashMap<String, Service> {
    create_sandbox(Arc::new(SandboxService { owner }))
}

impl SandboxService {
    async fn call(&self, id: String, call: PodCall) -> ttrpc::Result<Reply> {
        ask(&self.owner, Call::Pod { id, call }, Payload::None).await
    }

    async fn done(&self, id: String, call: PodCall) -> ttrpc::Result<()> {
        match self.call(id, call).await? {
            Reply::Answer(Answer::Empty) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn told(&self, id: String, call: PodCall) -> ttrpc::Result<PodSnapshot> {
        match self.call(id, call).await? {
            Reply::Answer(Answer::Pod(snapshot)) => Ok(snapshot),
            other => Err(unexpected(&other)),
        }
    }
}

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        r: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let call = Call::Pod { id: r.sandbox_id.clone(), call: PodCall::Create };
        match ask(&self.owner, call, Payload::Pod(Box::new(r))).await? {
            Reply::Answer(Answer::Empty) => Ok(CreateSandboxResponse::default()),
            other => Err(unexpected(&other)),
        }
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        r: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let pod = self.told(r.sandbox_id, PodCall::Start).await?;
        let created_at = messages::timestamp(pod.created);
        Ok(StartSandboxResponse { pid: pod.pid, created_at, ..StartSandboxResponse::default() })
    }

    /// As containerd names platforms; containers are described for it.
    async fn platform(
        &self,
        _: &TtrpcContext,
        r: PlatformRequest,
    ) -> ttrpc::Result<PlatformResponse> {
        self.done(r.sandbox_id, PodCall::Ping).await?;
        let Platform { os, architecture } = Platform::host();
        let platform = platform::Platform { os, architecture, ..platform::Platform::default() };
        let platform = MessageField::some(platform);
        Ok(PlatformResponse { platform, ..PlatformResponse::default() })
    }

    /// At once: the containers have been stopped before.
    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        r: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        self.done(r.sandbox_id, PodCall::Stop).await?;
        Ok(StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        r: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        match self.call(r.sandbox_id, PodCall::Wait).await? {
            Reply::Answer(Answer::Exit(exit)) => Ok(WaitSandboxResponse {
                exit_status: exit.ended.status(),
                exited_at: messages::timestamp(exit.at),
                ..WaitSandboxResponse::default()
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        r: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let pod = self.told(r.sandbox_id.clone(), PodCall::Status).await?;
        Ok(SandboxStatusResponse {
            sandbox_id: r.sandbox_id,
            pid: pod.pid,
            state: if pod.ready { READY } else { NOT_READY }.into(),
            created_at: messages::timestamp(pod.created),
            exited_at: messages::exited_at(pod.exit),
            ..SandboxStatusResponse::default()
        })
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, r: PingRequest) -> ttrpc::Result<PingResponse> {
        self.done(r.sandbox_id, PodCall::Ping).await?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        r: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        self.done(r.sandbox_id, PodCall::Shutdown).await?;
        Ok(ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        r: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        let used = match self.call(r.sandbox_id.clone(), PodCall::Stats).await? {
            Reply::Stats(used) => *used,
            other => return Err(unexpected(&other)),
        };
        let mut response = SandboxMetricsResponse::default();
        let metric = response.metrics.mut_or_insert_default();
        (metric.id, metric.timestamp) = (r.sandbox_id, messages::timestamp(now()));
        metric.data = Some(used).filter(|used| !used.type_url.is_empty()).into();
        Ok(response)
    }
}
