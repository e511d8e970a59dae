//! A `wasi:http/proxy` service (WASI 0.2):
//! `/` greets, `/echo` sends the body back as it comes, `/count` counts the requests this instance has seen,
//! `/slow` answers after a second, `/trap` traps, `/spin` never answers. `/grpc.health.v1.Health/Check` is gRPC's
//! question whether it serves (github.com/grpc/grpc, `doc/health-checking.md`); it always does.
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wasip2::http::proxy::export!(Service);

struct Service;

static SEEN: AtomicU32 = AtomicU32::new(0);

impl wasip2::exports::http::incoming_handler::Guest for Service {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/" => answer(out, 200, b"Hello, WASI!\n"),
            "/echo" => echo(&request, out),
            "/count" => {
                let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
                answer(out, 200, format!("{seen}\n").as_bytes());
            }
            "/slow" => {
                std::thread::sleep(Duration::from_secs(1));
                answer(out, 200, b"slept\n");
            }
            "/grpc.health.v1.Health/Check" => serving(out),
            "/trap" => std::process::abort(),
            "/spin" => loop {
                std::hint::black_box(&SEEN);
            },
            _ => answer(out, 404, b"not here\n"),
        }
    }
}

fn answer(out: ResponseOutparam, status: u16, text: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("taken once");
    stream.write_all(text).expect("the client is there");
    stream.flush().expect("the client is there");
    drop(stream);
    OutgoingBody::finish(body, None).expect("finished once");
}

/// One message with `status = SERVING`, and the status of the call in the trailers.
fn serving(out: ResponseOutparam) {
    let header = [("content-type".to_string(), b"application/grpc".to_vec())];
    let response = OutgoingResponse::new(Fields::from_list(&header).expect("allowed"));
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("taken once");
    stream.write_all(&[0, 0, 0, 0, 2, 0x08, 1]).expect("the client is there");
    stream.flush().expect("the client is there");
    drop(stream);
    let trailer = [("grpc-status".to_string(), b"0".to_vec())];
    let trailers = Fields::from_list(&trailer).expect("allowed");
    OutgoingBody::finish(body, Some(trailers)).expect("finished once");
}

fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let incoming = request.consume().expect("taken once");
    let from = incoming.stream().expect("taken once");
    let mut to = body.write().expect("taken once");
    // Ends with an error, `Closed`, like every stream of WASI 0.2.
    while let Ok(chunk) = from.blocking_read(4096) {
        to.write_all(&chunk).expect("the client is there");
        to.flush().expect("the client is there");
    }
    drop(to);
    OutgoingBody::finish(body, None).expect("finished once");
}
