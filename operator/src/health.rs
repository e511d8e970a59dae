//! `/healthz`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::info;

use crate::metrics::Metrics;

/// What a probe is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// It leads and its caches are filled, or it stands by.
    pub(crate) ready: Arc<AtomicBool>,
}

pub(crate) async fn serve(address: SocketAddr, health: Health, metrics: Metrics) -> Result<()> {
    let listener = match TcpListener::bind(address).await {
        // Of both families where the machine has both, else of the one that it has.
        Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = listener.with_context(|| format!("can't listen at {address}"))?;
    info!(address = %listener.local_addr()?, "listens");
    loop {
        let (stream, _) = listener.accept().await.context("no more connections")?;
        let (health, metrics) = (health.clone(), metrics.clone());
        let answer = service_fn(move |request| {
            let answer = answer(&request, &health, &metrics);
            async move { Ok::<_, Infallible>(answer) }
        });
        // A client that goes away is its own business.
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer),
        );
    }
}

fn answer(
    request: &Request<Incoming>,
    health: &Health,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n".to_string()),
        "/readyz" if health.ready.load(Ordering::Relaxed) => (StatusCode::OK, "ok\n".to_string()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled\n".to_string()),
        "/metrics" => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
