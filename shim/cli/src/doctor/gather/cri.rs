//! Asks the daemon itself: is it there, and what has its CRI plugin loaded?

use std::path::Path;
use std::time::Duration;

use wherry_grpc::Connection;
use wherry_grpc::cri::{STATUS, Status, StatusRequest};

use crate::doctor::containerd::handlers_of_status;
use crate::doctor::facts::{Answers, CriStatus};

/// A daemon that has work answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

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
    match daemon.unary::<Status>(STATUS, &StatusRequest { verbose: true }).await {
        Ok(told) => Answers::Cri(read(told)),
        Err(failure) => Answers::NoCri(failure.to_string()),
    }
}

fn read(told: Status) -> CriStatus {
    let (ready, reason) = told.runtime();
    let mut handlers = handlers_of_status(told.config().unwrap_or_default());
    for handler in told.handlers {
        handlers.entry(handler.name).or_default();
    }
    CriStatus { ready, reason, handlers }
}
