//! CRI as the kubelet speaks it (k8s.io/cri-api, `runtime/v1/api.proto`), as much of it as pods take.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerd_client::tonic::Request;
use containerd_client::tonic::client::Grpc;
use containerd_client::tonic::codegen::http::uri::PathAndQuery;
use containerd_client::tonic::transport::Channel;
use prost::Message;
use tonic_prost::ProstCodec;

use crate::client::block_on;
use crate::command::patient;

/// The longest that a call may take: a cold start compiles.
const CALL: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Message)]
pub struct PodConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodMetadata>,
    #[prost(string, tag = "2")]
    pub hostname: String,
    #[prost(string, tag = "3")]
    pub log_directory: String,
    #[prost(message, optional, tag = "4")]
    pub dns: Option<Dns>,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dns {
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinuxPod {
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub security: Option<PodSecurity>,
    #[prost(map = "string, string", tag = "3")]
    pub sysctls: std::collections::HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodSecurity {
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespaces>,
}

pub const POD: i32 = 0;
pub const CONTAINER: i32 = 1;
pub const NODE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub struct Namespaces {
    #[prost(int32, tag = "1")]
    pub network: i32,
    #[prost(int32, tag = "2")]
    pub pid: i32,
    #[prost(int32, tag = "3")]
    pub ipc: i32,
    #[prost(message, optional, tag = "5")]
    pub users: Option<Users>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Users {
    #[prost(int32, tag = "1")]
    pub mode: i32,
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<Mapping>,
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<Mapping>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Mapping {
    #[prost(uint32, tag = "1")]
    pub host: u32,
    #[prost(uint32, tag = "2")]
    pub container: u32,
    #[prost(uint32, tag = "3")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub image: Option<Image>,
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    #[prost(string, tag = "11")]
    pub log_path: String,
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Image {
    #[prost(string, tag = "1")]
    pub image: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(message, repeated, tag = "6")]
    pub uids: Vec<Mapping>,
    #[prost(message, repeated, tag = "7")]
    pub gids: Vec<Mapping>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    pub security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    pub namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
    #[prost(string, tag = "2")]
    handler: String,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

/// Most calls want an id, and some a number.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    number: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct ExecSync {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "2")]
    words: Vec<String>,
    #[prost(int64, tag = "3")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Said {
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PodAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodStatus {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    #[prost(message, optional, tag = "5")]
    network: Option<PodNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct PodNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}

impl PodStatus {
    pub fn is_ready(&self) -> bool {
        self.state == 0
    }

    pub fn ip(&self) -> &str {
        self.network.as_ref().map_or("", |network| &network.ip)
    }
}

#[derive(Clone, PartialEq, Message)]
struct ContainerAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: std::collections::HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    /// 0 created, 1 running, 2 exited.
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    #[prost(string, tag = "10")]
    pub reason: String,
}

/// A connection to containerd's CRI plugin.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
}

impl Cri {
    pub fn connect(socket: &Path) -> Result<Cri> {
        let connected = block_on(containerd_client::connect(socket));
        Ok(Cri { channel: connected.with_context(|| socket.display().to_string())? })
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}").parse::<PathAndQuery>()?;
        let mut grpc = Grpc::new(self.channel.clone());
        let asked = async {
            grpc.ready().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(request), path, codec);
            anyhow::Ok(tokio::time::timeout(patient(CALL), answer).await??.into_inner())
        };
        block_on(asked).context(method)
    }

    /// The version of the runtime, once CRI is there.
    pub fn version(&self) -> Result<()> {
        self.call::<_, Nothing>("Version", Nothing {}).map(drop)
    }

    pub fn run_pod(&self, config: &PodConfig, handler: &str) -> Result<String> {
        let request = RunPod { config: Some(config.clone()), handler: handler.to_string() };
        Ok(self.call::<_, Id>("RunPodSandbox", request)?.id)
    }

    pub fn stop_pod(&self, id: &str) -> Result<()> {
        self.call::<_, Nothing>("StopPodSandbox", about(id, 0)).map(drop)
    }

    pub fn remove_pod(&self, id: &str) -> Result<()> {
        self.call::<_, Nothing>("RemovePodSandbox", about(id, 0)).map(drop)
    }

    pub fn pod(&self, id: &str) -> Result<PodStatus> {
        let answer = self.call::<_, PodAnswer>("PodSandboxStatus", about(id, 0))?;
        answer.status.context("no status")
    }

    /// Created and started.
    pub fn run(&self, pod: &str, config: &PodConfig, container: ContainerConfig) -> Result<String> {
        let (pod, pod_config) = (pod.to_string(), Some(config.clone()));
        let request = CreateContainer { pod, config: Some(container), pod_config };
        let id = self.call::<_, Id>("CreateContainer", request)?.id;
        self.call::<_, Nothing>("StartContainer", about(&id, 0))?;
        Ok(id)
    }

    pub fn stop(&self, id: &str, seconds: i64) -> Result<()> {
        self.call::<_, Nothing>("StopContainer", about(id, seconds)).map(drop)
    }

    pub fn remove(&self, id: &str) -> Result<()> {
        self.call::<_, Nothing>("RemoveContainer", about(id, 0)).map(drop)
    }

    pub fn container(&self, id: &str) -> Result<ContainerStatus> {
        let answer = self.call::<_, ContainerAnswer>("ContainerStatus", about(id, 0))?;
        answer.status.context("no status")
    }

    pub fn pid(&self, id: &str) -> Result<u32> {
        // Verbose is the number 2's field, a bool of the same form.
        let answer = self.call::<_, ContainerAnswer>("ContainerStatus", about(id, 1))?;
        let info = answer.info.get("info").context("no verbose status")?;
        let info: serde_json::Value = serde_json::from_str(info)?;
        let pid = info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.filter(|pid| *pid > 0).with_context(|| format!("no pid: {info}"))
    }

    pub fn exec(&self, id: &str, words: &[&str]) -> Result<Said> {
        let words = words.iter().map(|word| word.to_string()).collect();
        self.call("ExecSync", ExecSync { id: id.to_string(), words, seconds: 30 })
    }

    /// What a program of the container says that does well.
    pub fn told(&self, id: &str, words: &[&str]) -> Result<String> {
        let said = self.exec(id, words)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(said.code == 0, "{words:?} ends with {}: {}", said.code, text(&said.stderr));
        Ok(text(&said.stdout))
    }
}

fn about(id: &str, number: i64) -> Id {
    Id { id: id.to_string(), number }
}
