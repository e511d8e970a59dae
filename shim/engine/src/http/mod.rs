//! HTTP services: a server in the guest's process, a fresh instance for each request.
//!
//! ```text
//! listener ──► connection (HTTP/1.1 or h2c) ──► permit ──► instance ──► guest
//!    │                                            └ of as many as there are places for
//!    └ SIGTERM, SIGINT, SIGQUIT: accept no more, finish what runs, exit 0
//! ```
//!
//! One request cannot harm another: each has its own memory, a trap ends one instance, and guests
//! that compute for long give way at epochs.

pub(crate) mod outgoing;

mod epoch;
mod permits;
mod places;
mod request;
mod server;
mod silence;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::runtime;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre as Proxy2;
use wasmtime_wasi_http::p3::bindings::ServicePre as Service3;
use wherry_core::plan::Run;

use crate::exit::{Exit, Reasons};
use crate::host::{self, Host};
use crate::limits::{Budget, Declared};
use crate::load::Refusal;
use crate::stdio::Streams;
use crate::world::World;
use epoch::Epochs;
use outgoing::Outgoing;
use permits::Permits;
use places::Places;

/// A service that only waits to be started.
pub(crate) struct Service {
    listen: SocketAddr,
    threads: Option<NonZeroU16>,
    shared: Arc<Shared>,
}

/// What all requests share.
struct Shared {
    pre: ProxyPre<Host>,
    run: Run,
    streams: Streams,
    outgoing: Outgoing,
    budget: Budget,
    declared: Declared,
    permits: Arc<Permits>,
    epochs: Epochs,
}

impl Service {
    pub(crate) fn new(
        engine: &Engine,
        world: World,
        pre: InstancePre<Host>,
        run: &Run,
        streams: Streams,
        outgoing: Outgoing,
        budget: Budget,
    ) -> Result<Service, Refusal> {
        let broken = |error: wasmtime::Error| Refusal::Imports(format!("{error:#}"));
        let instance_bytes = initial_memory(pre.component());
        let declared = Declared::by_component(pre.component());
        let pre = match world {
            World::Service3 => ProxyPre::P3(Service3::new(pre).map_err(broken)?),
            _ => ProxyPre::P2(Proxy2::new(pre).map_err(broken)?),
        };
        // Folders are opened for each request; whether they can be is told now.
        host::request(run, &streams).map_err(Refusal::surroundings)?;
        let permits = Permits::new(Places::of_process(run), budget.clone(), instance_bytes);
        let permits = Arc::new(permits);
        Ok(Service {
            listen: run.http_listen,
            threads: run.threads,
            shared: Arc::new(Shared {
                pre,
                run: run.clone(),
                streams,
                outgoing,
                budget,
                declared,
                epochs: Epochs::new(engine, Arc::clone(&permits)),
                permits,
            }),
        })
    }

    /// Serves until a signal asks to stop. Threads are made here and not while loading: by now
    /// the process is sealed, and they inherit that.
    pub(crate) fn run(self, reasons: &Reasons) -> Exit {
        let threads = self.threads.map_or_else(processors, |threads| threads.get().into());
        let mut builder = match threads {
            1 => runtime::Builder::new_current_thread(),
            threads => {
                let mut builder = runtime::Builder::new_multi_thread();
                builder.worker_threads(threads);
                builder
            }
        };
        let runtime = match builder.enable_all().thread_name("wherry-http").build() {
            Ok(runtime) => runtime,
            Err(error) => {
                reasons
                    .tell(&format!("the threads of the HTTP service cannot be started: {error}"));
                return Exit::FAILURE;
            }
        };
        let exit = runtime.block_on(server::serve(self.listen, self.shared, reasons));
        // Guests that still compute after the drain's deadline do not hold up the exit.
        runtime.shutdown_background();
        exit
    }
}

/// The memory that an instance begins with, in bytes.
fn initial_memory(component: &Component) -> usize {
    const PAGE: usize = 64 << 10;
    let Some(resources) = component.resources_required() else { return PAGE };
    let pages = usize::try_from(resources.max_initial_memory_size.unwrap_or(0));
    // The largest of its memories is nearly always its only one.
    pages.unwrap_or(usize::MAX).saturating_mul(PAGE)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
