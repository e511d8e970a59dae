//! The program as containerd calls it: its actions, and its service over a real socket.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::api;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::{self, Code};
use containerd_shim_protos::types::introspection::RuntimeInfo;

const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-wherry-v1");

fn run(bundle: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(SHIM)
        .args(args)
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn params(bundle: &Path, id: &str) -> Vec<u8> {
    let params = BootstrapParams {
        instance_id: id.into(),
        namespace: "test".into(),
        containerd_grpc_address: "/nowhere/containerd.sock".into(),
        socket_dir: Some(bundle.join("s").to_str().unwrap().into()),
        ..BootstrapParams::default()
    };
    params.write_to_bytes().unwrap()
}

fn to_start(id: &str) -> [&str; 7] {
    ["-namespace", "test", "-id", id, "-address", "/nowhere/containerd.sock", "start"]
}

fn start(bundle: &Path, id: &str) -> (Output, String) {
    let output = run(bundle, &to_start(id), &params(bundle, id));
    let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (2, "ttrpc"), "{output:?}");
    (output, result.address)
}

/// Calls a method of a service by its name; containerd's own client does no more.
fn call<M: Message>(
    address: &str,
    service: &str,
    method: &str,
    request: &impl Message,
) -> Result<M, ttrpc::Error> {
    let client = ttrpc::Client::connect(address)?;
    let request = ttrpc::Request {
        service: service.into(),
        method: method.into(),
        payload: request.write_to_bytes().unwrap(),
        ..ttrpc::Request::default()
    };
    let response = client.request(request)?;
    Ok(M::parse_from_bytes(&response.payload).unwrap())
}

fn code(result: Result<api::Empty, ttrpc::Error>) -> Code {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => status.code(),
        other => panic!("{other:?} is no status"),
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what} takes longer than 10 seconds");
        std::thread::yield_now();
    }
}

#[test]
fn info_and_version_need_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let version = run(dir.path(), &["-v"], b"");
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
    let info = RuntimeInfo::parse_from_bytes(&run(dir.path(), &["-info"], b"").stdout).unwrap();
    assert_eq!(info.name, "io.containerd.wherry.v1");
    assert!(info.features.type_url.ends_with("runtime-spec/1/features/Features"));
    let features: serde_json::Value = serde_json::from_slice(&info.features.value).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
}

#[test]
fn a_shim_serves_both_versions_and_leaves_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address) = start(dir.path(), "c1");
    assert!(first.stderr.is_empty(), "stderr carries nothing: {first:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("address")).unwrap(), address);
    assert_eq!(start(dir.path(), "c1").1, address, "start is idempotent");

    let connect = api::ConnectRequest { id: "c1".into(), ..Default::default() };
    let mut pids = Vec::new();
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let answer: api::ConnectResponse = call(&address, service, "Connect", &connect).unwrap();
        assert_eq!(answer.task_pid, 0);
        pids.push(answer.shim_pid);
    }
    assert_eq!(pids[0], pids[1]);

    let service = "containerd.task.v2.Task";
    let pids_request = api::PidsRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(code(call(&address, service, "Pids", &pids_request)), Code::NOT_FOUND);
    let mut exec = api::ExecProcessRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(code(call(&address, service, "Exec", &exec)), Code::INVALID_ARGUMENT);
    let value = br#"{"args":["a"],"cwd":"/","user":{"uid":0,"gid":0}}"#.to_vec();
    exec.spec = Some(Any { value, ..Default::default() }).into();
    assert_eq!(code(call(&address, service, "Exec", &exec)), Code::NOT_FOUND);
    let checkpoint = api::CheckpointTaskRequest { id: "c1".into(), ..Default::default() };
    assert_eq!(code(call(&address, service, "Checkpoint", &checkpoint)), Code::NOT_FOUND);
    let create = api::CreateTaskRequest {
        id: "c1".into(),
        bundle: dir.path().join("missing").to_str().unwrap().into(),
        ..Default::default()
    };
    assert_eq!(code(call(&address, service, "Create", &create)), Code::INVALID_ARGUMENT);

    let shutdown = api::ShutdownRequest { id: "c1".into(), ..Default::default() };
    let _: api::Empty = call(&address, service, "Shutdown", &shutdown).unwrap();
    let socket = PathBuf::from(address.strip_prefix("unix://").unwrap());
    until("leaving", || !socket.exists());
}

/// containerd kills a `start` whose caller has given up, and has nobody clean up after it.
#[test]
fn a_start_that_is_killed_before_its_answer_leaves_no_shim() {
    let dir = tempfile::tempdir().unwrap();
    let (_unread, mut full) = std::io::pipe().unwrap();
    // As much as a pipe holds (pipe(7)): the answer has to wait.
    full.write_all(&[0; 64 << 10]).unwrap();
    let mut start = Command::new(SHIM)
        .args(to_start("c1"))
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(full)
        .spawn()
        .unwrap();
    start.stdin.take().unwrap().write_all(&params(dir.path(), "c1")).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", start.id());
    let forked = || std::fs::read_to_string(&children).is_ok_and(|pids| !pids.is_empty());
    until("becoming a shim", forked);
    let sockets = || std::fs::read_dir(dir.path().join("s")).unwrap().count();
    assert_eq!(sockets(), 1);
    start.kill().unwrap();
    start.wait().unwrap();
    until("leaving", || sockets() == 0);
}

#[test]
fn delete_kills_what_a_dead_shim_left_and_may_come_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = Command::new("sleep").arg("600").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.id())).unwrap();
    let started = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(19).unwrap();
    let bundle = dir.path().to_str().unwrap();
    let write = |id: &str| {
        let state =
            format!(r#"{{"id":"{id}","guest":{{"pid":{},"started":{started}}}}}"#, left.id());
        std::fs::write(dir.path().join("wherry.json"), state).unwrap();
    };
    let delete = || {
        let args = ["-namespace", "test", "-id", "c1", "-bundle", bundle, "delete"];
        let output = run(dir.path(), &args, b"");
        assert!(output.stderr.is_empty(), "{output:?}");
        api::DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
    };
    write("other");
    assert_eq!(delete().pid, 0, "only its own id");
    write("c1");
    let answer = delete();
    assert_eq!((answer.pid, answer.exit_status), (left.id(), 137));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&left.wait().unwrap()), Some(9));
    assert!(!dir.path().join("wherry.json").exists());
    assert_eq!(delete().exit_status, 137);
}

/// containerd ends `delete` after five seconds, and nobody comes after it.
#[test]
fn delete_removes_a_dead_socket_before_it_waits_for_anything() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let runc = "#!/bin/sh\necho called >> $0.calls\nexec sleep 600\n";
    std::fs::write(path("runc"), runc).unwrap();
    std::fs::set_permissions(path("runc"), PermissionsExt::from_mode(0o755)).unwrap();
    let native = format!(r#"{{"binary":{:?},"root":{:?}}}"#, path("runc"), path("root"));
    std::fs::write(path("wherry.json"), format!(r#"{{"id":"c1","native":{native}}}"#)).unwrap();
    // Bound, and nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(path("socket")).unwrap());
    std::fs::write(path("address"), format!("unix://{}", path("socket").display())).unwrap();
    let bundle = dir.path().to_str().unwrap();
    let mut delete = Command::new(SHIM)
        .args(["-namespace", "test", "-id", "c1", "-bundle", bundle, "delete"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("calling runc", || path("runc.calls").exists());
    assert!(!path("socket").exists());
    delete.kill().unwrap();
    delete.wait().unwrap();
}
