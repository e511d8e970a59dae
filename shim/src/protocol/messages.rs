//! Between the ledger's words and containerd's messages.

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::ttrpc::{self, Code as Ttrpc};
use oci_spec::runtime::Process;
use serde_json::Value;
use wherry_core::lifecycle::{
    Code, Creation, Denied, Exit, RootMount, Snapshot, Status, Stdio, Time,
};
use wherry_core::plan::Terminal;

use crate::exec::Given;

/// A denial as a status that containerd's `errgrpc` turns into the right kind of error.
pub(crate) fn error(denied: &Denied) -> ttrpc::Error {
    let code = match denied.code {
        Code::Unknown => Ttrpc::UNKNOWN,
        Code::InvalidArgument => Ttrpc::INVALID_ARGUMENT,
        Code::DeadlineExceeded => Ttrpc::DEADLINE_EXCEEDED,
        Code::NotFound => Ttrpc::NOT_FOUND,
        Code::AlreadyExists => Ttrpc::ALREADY_EXISTS,
        // containerd 1.7 knows no RESOURCE_EXHAUSTED and makes it Unknown (`errdefs/grpc.go`).
        Code::ResourceExhausted | Code::FailedPrecondition => Ttrpc::FAILED_PRECONDITION,
        Code::Unimplemented => Ttrpc::UNIMPLEMENTED,
    };
    ttrpc::error::get_rpc_status(code, &denied.sentence)
}

pub(crate) fn timestamp(at: Time) -> MessageField<Timestamp> {
    MessageField::some(Timestamp { seconds: at.seconds, nanos: at.nanos, ..Timestamp::default() })
}

pub(crate) fn exited_at(exit: Option<Exit>) -> MessageField<Timestamp> {
    exit.map_or_else(MessageField::none, |exit| timestamp(exit.at))
}

pub(crate) fn creation(request: &api::CreateTaskRequest) -> Creation {
    Creation {
        bundle: request.bundle.clone(),
        stdio: Stdio {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        },
        rootfs: request
            .rootfs
            .iter()
            .map(|m| RootMount {
                kind: m.type_.clone(),
                source: m.source.clone(),
                target: m.target.clone(),
                options: m.options.clone(),
            })
            .collect(),
        checkpoint: request.checkpoint.clone(),
    }
}

/// The process that an exec is to be: JSON, as `typeurl` packs it, whatever its type is called.
pub(crate) fn process(request: &api::ExecProcessRequest) -> Result<Given, Denied> {
    let json = request.spec.as_ref().map_or(&[][..], |any| &any.value);
    let unreadable = |e: serde_json::Error| {
        let sentence = format!("the process of exec {} cannot be read: {e}", request.exec_id);
        Denied::new(Code::InvalidArgument, sentence)
    };
    let process = serde_json::from_slice::<Process>(json).map_err(unreadable);
    let json: Value = serde_json::from_slice(json).map_err(unreadable)?;
    match json.is_object() {
        true => Ok(Given { json, process }),
        false => {
            Err(process.err().unwrap_or_else(|| Denied::new(Code::InvalidArgument, "no process")))
        }
    }
}

pub(crate) fn exec_stdio(request: &api::ExecProcessRequest) -> Stdio {
    Stdio {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    }
}

pub(crate) fn size(request: &api::ResizePtyRequest) -> Result<Terminal, Denied> {
    match (u16::try_from(request.height), u16::try_from(request.width)) {
        (Ok(rows), Ok(columns)) => Ok(Terminal { rows, columns }),
        _ => Err(Denied::new(
            Code::InvalidArgument,
            format!(
                "{} rows of {} columns are more than a terminal can have (65535)",
                request.height, request.width
            ),
        )),
    }
}

pub(crate) fn state(snapshot: Snapshot) -> api::StateResponse {
    let status = match snapshot.status {
        Status::Created => api::Status::CREATED,
        Status::Running => api::Status::RUNNING,
        Status::Paused => api::Status::PAUSED,
        Status::Stopped => api::Status::STOPPED,
    };
    api::StateResponse {
        // As containerd's own shim: the exec's id where it is one.
        id: snapshot.key.exec.clone().unwrap_or_else(|| snapshot.key.task.clone()),
        exec_id: snapshot.key.exec.unwrap_or_default(),
        bundle: snapshot.bundle,
        pid: snapshot.pid,
        status: status.into(),
        stdin: snapshot.stdio.stdin,
        stdout: snapshot.stdio.stdout,
        stderr: snapshot.stdio.stderr,
        terminal: snapshot.stdio.terminal,
        exit_status: snapshot.exit.map_or(0, |exit| exit.ended.status()),
        exited_at: exited_at(snapshot.exit),
        ..api::StateResponse::default()
    }
}
