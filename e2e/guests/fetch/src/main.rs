//! Fetches `SCHEME://AUTHORITY/PATH` by outgoing `wasi:http` and prints the status and the body.
use std::io::Read;
use std::process;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingResponse, Method, OutgoingRequest, Scheme};

fn main() {
    let url = std::env::args().nth(1).unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    match fetch(scheme, authority, &format!("/{path}")) {
        Ok((status, body)) => print!("{status} {body}"),
        Err(reason) => {
            println!("failed: {reason}");
            process::exit(1);
        }
    }
}

fn fetch(scheme: &str, authority: &str, path: &str) -> Result<(u16, String), String> {
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&Method::Get).map_err(|()| "method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    let response = pending
        .get()
        .ok_or("no answer")?
        .map_err(|()| "taken twice")?
        .map_err(|code| format!("{code:?}"))?;
    Ok((response.status(), read(&response)))
}

fn read(response: &IncomingResponse) -> String {
    let body = response.consume().expect("taken once");
    let mut text = String::new();
    let mut stream = body.stream().expect("taken once");
    stream.read_to_string(&mut text).expect("a whole body in UTF-8");
    text
}
