//! A `wasi:http/service` (WASI 0.3) with the paths of `http-p2`.
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::{StreamReader, StreamResult, spawn_local};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Service);

struct Service;

static SEEN: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match path.as_str() {
            "/" => answer(200, "Hello, WASI!\n".to_string()),
            "/echo" => Ok(echo(request)),
            "/count" => answer(200, format!("{}\n", SEEN.fetch_add(1, Ordering::Relaxed) + 1)),
            "/slow" => {
                wasip3::clocks::monotonic_clock::wait_for(1_000_000_000).await;
                answer(200, "slept\n".to_string())
            }
            "/trap" => std::process::abort(),
            "/spin" => loop {
                std::hint::black_box(&SEEN);
            },
            _ => answer(404, "not here\n".to_string()),
        }
    }
}

fn respond(body: StreamReader<u8>) -> Response {
    let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers_reader);
    drop(trailers);
    response
}

fn answer(status: u16, text: String) -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    let response = respond(reader);
    response.set_status_code(status).expect("a status");
    spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    Ok(response)
}

fn echo(request: Request) -> Response {
    let (_, consumed) = wit_future::new(|| Ok(()));
    let (mut from, _trailers) = Request::consume_body(request, consumed);
    let (mut to, reader) = wit_stream::new();
    spawn_local(async move {
        loop {
            let (result, chunk) = from.read(Vec::with_capacity(4096)).await;
            if !to.write_all(chunk).await.is_empty() || !matches!(result, StreamResult::Complete(_)) {
                return;
            }
        }
    });
    respond(reader)
}
