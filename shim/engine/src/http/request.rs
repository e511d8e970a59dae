//! One request: an instance of its own, a response, and a sentence where it fails.

use std::future;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::task::{AbortHandle, JoinHandle};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::Prepared;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use super::Shared;
use crate::exit::trap_message;
use crate::host::{self, Host};
use crate::limits::Memory;

type Answer = Result<Response<WasiBody>, wasmtime::Error>;

/// Answers a request, whatever the guest does.
pub(super) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Response<WasiBody> {
    let what = format!("{} {}", request.method(), request.uri().path());
    let Ok(request) = absolute(request) else {
        return refuse(StatusCode::BAD_REQUEST, "the request does not name one valid host");
    };
    let (sender, answer) = oneshot::channel();
    // The response's body and what the guest does after it go on when this function is done.
    let task = tokio::spawn(respond(shared, request, sender));
    let abandoned = AbortOnDrop(Some(task.abort_handle()));
    let answer = answer.await;
    abandoned.keep();
    match answer {
        Ok(Ok(response)) => {
            tokio::spawn(tell_end(what, task));
            response
        }
        // The task knows more: a trap, for instance, where the answer is only that there is none.
        Ok(Err(answer)) => fail(&what, &ended(task).await.err().unwrap_or(answer)),
        Err(oneshot::Canceled) => {
            let error = ended(task).await.err();
            fail(&what, &error.unwrap_or_else(|| wasmtime::Error::msg("there was no response")))
        }
    }
}

/// Runs the guest. Ends when the guest has nothing left to do, which may be after the response.
async fn respond(
    shared: Arc<Shared>,
    request: Request<WasiBody>,
    sender: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    // Held until the store is dropped: the pool has a place for each permit.
    let _permit = shared.permits.requests.clone().acquire_owned().await?;
    let wasi = host::request(&shared.run, &shared.streams)?;
    let memory = Memory::new(shared.budget.clone(), shared.declared);
    let mut store = Host::store(shared.engine(), wasi, shared.outgoing.clone(), memory);
    let _running = shared.epochs.watch(&mut store);
    let end = run(&shared, &mut store, request, sender).await;
    store.data().memory.explain(end)
}

async fn run(
    shared: &Shared,
    store: &mut Store<Host>,
    request: Request<WasiBody>,
    sender: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    let proxy = shared.pre.instantiate_async(&mut *store).await?;
    let serve = async |accessor: &wasmtime::component::Accessor<Host>| {
        let prepared = accessor.with(|mut store| {
            Prepared::new(store.as_context_mut(), &proxy, request, Host::http, sender)
        })?;
        prepared.run(accessor, future::pending()).await?;
        future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    };
    store.run_concurrent(serve).await?
}

impl Shared {
    fn engine(&self) -> &wasmtime::Engine {
        match &self.pre {
            wasmtime_wasi_http::handler::ProxyPre::P2(pre) => pre.engine(),
            wasmtime_wasi_http::handler::ProxyPre::P3(pre) => pre.engine(),
        }
    }
}

/// The request as WASI wants it: with the scheme and the authority in its URI.
///
/// HTTP/1.1 wants exactly one `Host` (RFC 9112, 3.2): of two, a proxy before us may have gone by the other one.
fn absolute(request: Request<Incoming>) -> Result<Request<WasiBody>, ()> {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).map_err(drop)?),
        (Some(_), Some(_)) => return Err(()),
        (None, _) if parts.version == Version::HTTP_11 => return Err(()),
        (None, _) => None,
    };
    if uri.authority.is_none() {
        // HTTP/1.0 knows no hosts.
        uri.authority = Some(host.unwrap_or(Authority::from_static("localhost")));
    }
    uri.scheme.get_or_insert(Scheme::HTTP);
    uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).map_err(drop)?;
    Ok(Request::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
}

/// A failure is told in the container's log; the client learns no more than that there was one.
fn fail(what: &str, error: &wasmtime::Error) -> Response<WasiBody> {
    log(what, error);
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the service failed")
}

async fn tell_end(what: String, task: JoinHandle<wasmtime::Result<()>>) {
    if let Err(error) = ended(task).await {
        log(&what, &error);
    }
}

/// A panic ends the process, so a task that did not end was aborted: nobody waits for it.
async fn ended(task: JoinHandle<wasmtime::Result<()>>) -> wasmtime::Result<()> {
    task.await.unwrap_or(Ok(()))
}

fn log(what: &str, error: &wasmtime::Error) {
    use std::io::Write as _;
    let line = format!("wherry: {what}: {}\n", trap_message(error));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn refuse(status: StatusCode, why: &'static str) -> Response<WasiBody> {
    let body = Full::new(Bytes::from_static(why.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Ends the guest of a request whose client has gone before there was a response.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
