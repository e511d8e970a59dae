//! `wherry-operator`: brings Wherry to the nodes of a cluster, and takes it off again.
//!
//! It reads and writes the API of Kubernetes and nothing else. What is to be done is decided in
//! `wherry-operator-core`; what is done on a node is done there by `wherry-node`.

mod agent;
mod class;
mod control;
mod health;
mod lease;
mod metrics;
mod tool;
mod traces;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use control::{Controller, Telling};
use health::Health;
use lease::{Candidate, Fence};
use metrics::Metrics;
use tool::Tool;
use traces::Traces;
use wherry_operator_core::in_words;

const HELP: &str = "\
wherry-operator: brings Wherry to the nodes of a cluster, and takes it off again

wherry-operator                          does so, from now on
wherry-operator apply FILE               writes the WasmShim of a file (JSON)
wherry-operator check NAMESPACE          tells whether an operator leads there, and how its WasmShims are
wherry-operator uninstall NAME SECONDS   takes a WasmShim off its nodes, unless pods run by it

  POD_NAMESPACE        where its Lease and its Jobs are
  POD_NAME             who it is, among several
  WHERRY_LISTEN        where it answers /healthz, /readyz and /metrics (0.0.0.0:8080)
  WHERRY_PULL_SECRETS  Secrets of that namespace for the agents' image, with commas between
  RUST_LOG             what it tells (info)
  OTEL_EXPORTER_OTLP_ENDPOINT
                       http://HOST:PORT of an OTLP receiver (gRPC) for the traces of rollouts
  KUBECONFIG           outside a cluster
";

#[derive(Clone)]
struct Settings {
    namespace: String,
    identity: String,
    listen: SocketAddr,
    pull_secrets: Vec<String>,
}

impl Settings {
    fn read() -> Result<Settings> {
        let named =
            |key: &str| env::var(key).with_context(|| format!("{key} is not set\n\n{HELP}"));
        let listen = env::var("WHERRY_LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".into());
        let secrets = env::var("WHERRY_PULL_SECRETS").unwrap_or_default();
        let secrets = secrets.split(',').filter(|it| !it.is_empty());
        Ok(Settings {
            pull_secrets: secrets.map(str::to_string).collect(),
            namespace: named("POD_NAMESPACE")?,
            identity: named("POD_NAME")?,
            listen: listen.parse().with_context(|| format!("WHERRY_LISTEN={listen:?}"))?,
        })
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.is_empty() {
        return until_its_end(serve());
    }
    match Tool::parse(&words) {
        Some(tool) => match on_this_thread(tool.run()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}", in_words(error.as_ref()));
                ExitCode::FAILURE
            }
        },
        None => {
            print!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn until_its_end(work: impl Future<Output = Result<()>>) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    match on_this_thread(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = in_words(error.as_ref()), "ends");
            ExitCode::FAILURE
        }
    }
}

fn on_this_thread(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("no runtime")?.block_on(work)
}

/// Of the cluster that this is a pod of, or that `KUBECONFIG` names.
async fn client() -> Result<Client> {
    // Two crates below could bring a provider; one of them is told to.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("TLS has a provider already");
    }
    Client::try_default().await.context("there is no cluster to talk to")
}

async fn serve() -> Result<()> {
    let settings = Settings::read()?;
    let traces = Traces::from_environment(&settings.identity)?;
    let client = client().await?;
    let (fence, metrics, health) = (Fence::default(), Metrics::new(), Health::default());
    let mut terminated = signal(SignalKind::terminate()).context("no signals")?;
    let mut candidate = Candidate::new(
        client.clone(),
        &settings.namespace,
        settings.identity.clone(),
        fence.clone(),
    );
    let work = async {
        // Who stands by is ready to.
        health.ready.store(true, Ordering::Relaxed);
        candidate.elected().await;
        health.ready.store(false, Ordering::Relaxed);
        metrics.leads();
        let control = async {
            let told = Telling { fence, metrics: metrics.clone(), traces: traces.clone() };
            let controller = Controller::new(client, &settings, told).await?;
            health.ready.store(true, Ordering::Relaxed);
            controller.run().await
        };
        tokio::select! {
            done = control => done,
            () = candidate.lost() => bail!("the lease is lost"),
        }
    };
    tokio::select! {
        done = work => return done,
        served = health::serve(settings.listen, health.clone(), metrics.clone()) => return served,
        _ = terminated.recv() => info!("ends as it was asked to"),
    }
    // Nothing is written any more: another one need not wait until that is sure.
    candidate.release().await;
    traces.end().await;
    Ok(())
}
