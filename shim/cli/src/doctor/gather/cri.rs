//! Asks the daemon itself: is it there, and what has its CRI plugin loaded?

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use wherry_grpc::Connection;

use crate::doctor::containerd::handlers_of_status;
use crate::doctor::facts::{Answers, CriStatus};

/// A daemon that has work answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

// The few fields that are asked for of `containerd.services.version.v1` and of CRI's `runtime.v1`, by hand, since
// generating them takes `protoc`.

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
    #[prost(message, repeated, tag = "3")]
    handlers: Vec<RuntimeHandler>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeHandler {
    #[prost(string, tag = "1")]
    name: String,
}

pub(super) fn ask(address: &Path) -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Answers::Nothing(error.to_string()),
    };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked(address)).await });
    asked.unwrap_or_else(|_| Answers::Nothing(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn asked(address: &Path) -> Answers {
    let mut daemon = match Connection::open(address, "default").await {
        Ok(daemon) => daemon,
        Err(failure) => return Answers::Nothing(failure.to_string()),
    };
    let version = "/containerd.services.version.v1.Version/Version";
    if let Err(failure) = daemon.unary::<Nothing>(version, &Nothing {}).await {
        return Answers::Nothing(failure.to_string());
    }
    let status = "/runtime.v1.RuntimeService/Status";
    match daemon.unary::<StatusResponse>(status, &StatusRequest { verbose: true }).await {
        Ok(told) => Answers::Cri(read(told)),
        Err(failure) => Answers::NoCri(failure.to_string()),
    }
}

fn read(told: StatusResponse) -> CriStatus {
    let conditions = told.status.unwrap_or_default().conditions;
    let runtime = conditions.into_iter().find(|one| one.kind == "RuntimeReady");
    let json = told.info.get("config").map_or("", String::as_str);
    let mut handlers = handlers_of_status(json);
    for handler in told.handlers {
        handlers.entry(handler.name).or_default();
    }
    CriStatus {
        ready: runtime.as_ref().is_some_and(|one| one.status),
        reason: runtime.map(|one| format!("{} {}", one.reason, one.message)).unwrap_or_default(),
        handlers,
    }
}
