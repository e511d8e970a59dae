//! What a guest is given: the state behind its imports.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wherry_core::plan::Run;

use crate::http::outgoing::Outgoing;
use crate::stdio::{Patience, Streams};

/// The state of a store that runs a component.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
}

impl Host {
    pub(crate) fn new(wasi: WasiCtx, outgoing: Outgoing) -> Host {
        Host { wasi, http: WasiHttpCtx::new(), outgoing, table: ResourceTable::new() }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// The context of a command, whose only thread may block on files and streams.
pub(crate) fn command(run: &Run, streams: &Streams) -> wasmtime::Result<WasiCtx> {
    Ok(builder(run, streams, Patience::Block)?.build())
}

pub(crate) fn preview1(run: &Run, streams: &Streams) -> wasmtime::Result<WasiP1Ctx> {
    Ok(builder(run, streams, Patience::Block)?.build_p1())
}

/// The context of one request, which shares its thread with others.
pub(crate) fn request(run: &Run, streams: &Streams) -> wasmtime::Result<WasiCtx> {
    Ok(builder(run, streams, Patience::Yield)?.build())
}

fn builder(run: &Run, streams: &Streams, patience: Patience) -> wasmtime::Result<WasiCtxBuilder> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_blocking_current_thread(patience == Patience::Block)
        .args(&run.args)
        .envs(&run.env)
        .initial_cwd(&run.cwd)
        .stdin(streams.stdin())
        .stdout(streams.stdout(patience))
        .stderr(streams.stderr(patience))
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true)
        .inherit_network();
    for preopen in &run.preopens {
        let rights = if preopen.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        wasi.preopened_dir(&preopen.path, &preopen.path, rights)
            .map_err(|error| error.context(format!("cannot open {}", preopen.path)))?;
    }
    Ok(wasi)
}
