//! What a guest is given: the state behind its imports.

use std::io;
use std::path::Path;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wherry_core::plan::{Preopen, Run};

use crate::http::outgoing::Outgoing;
use crate::limits::Memory;
use crate::stdio::{Patience, Streams};

/// The state of a store that runs a component.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
    pub(crate) memory: Memory,
}

impl Host {
    pub(crate) fn store(
        engine: &Engine,
        wasi: WasiCtx,
        outgoing: Outgoing,
        memory: Memory,
    ) -> Store<Host> {
        let (http, table) = (WasiHttpCtx::new(), ResourceTable::new());
        let mut store = Store::new(engine, Host { wasi, http, outgoing, table, memory });
        store.limiter(|host| &mut host.memory);
        store
    }
}

/// The state of a store that runs a core module.
pub(crate) struct Preview1 {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) memory: Memory,
}

impl Preview1 {
    pub(crate) fn store(engine: &Engine, wasi: WasiP1Ctx, memory: Memory) -> Store<Preview1> {
        let mut store = Store::new(engine, Preview1 { wasi, memory });
        store.limiter(|host| &mut host.memory);
        store
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
    let has_root = run.preopens.iter().any(|preopen| preopen.path == "/");
    let mut open = |host: &str, guest: &str, read_only: bool| {
        let rights = if read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        match wasi.preopened_dir(host, guest, rights) {
            // A volume that is closed to the container's user starts no other container less
            // either. Below `/` the guest finds it, and is refused as anybody of that name is.
            Err(error) if has_root && host != "/" && is_denied(&error) => Ok(()),
            Err(error) => Err(error.context(format!("cannot open {host}"))),
            Ok(_) => Ok(()),
        }
    };
    for preopen in &run.preopens {
        open(&preopen.path, &preopen.path, preopen.read_only)?;
    }
    if let Some(preopen) = preopen_of_cwd(run) {
        open(&run.cwd, ".", preopen.read_only)?;
    }
    Ok(wasi)
}

fn is_denied(error: &wasmtime::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The preopen whose rights the initial directory has, if the guest gets that directory as `.`.
///
/// WASI has no working directory for file names: libraries keep one, and wasi-libc's starts at
/// `/`, for components too. It also takes `.` and `/` for the same preopen, the last one given. So
/// with a preopen of `/`, relative names are relative to `/`, and adding `.` would break absolute
/// ones; without it they can be made to work.
fn preopen_of_cwd(run: &Run) -> Option<&Preopen> {
    let holds_cwd = |preopen: &&Preopen| Path::new(&run.cwd).starts_with(&preopen.path);
    if run.preopens.iter().any(|preopen| preopen.path == "/") {
        return None;
    }
    run.preopens.iter().filter(holds_cwd).max_by_key(|preopen| preopen.path.len())
}
