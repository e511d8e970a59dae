//! What a guest may import, and the sentence for what nothing provides.

use wasmtime::component::{Component, Linker as ComponentLinker, types::ComponentItem};
use wasmtime::{Engine, Linker, Module};
use wasmtime_wasi::I32Exit;

use crate::host::{Host, Preview1};

const PREVIEW1: &str = "wasi_snapshot_preview1";
const PREVIEW0: &str = "wasi_unstable";

/// Functions of WasmEdge's socket extension, by the parts of their names (it adds `_v2` to some).
const WASMEDGE: [&str; 14] = [
    "sock_open",
    "sock_bind",
    "sock_connect",
    "sock_listen",
    "sock_recv_from",
    "sock_send_to",
    "sock_getsockopt",
    "sock_setsockopt",
    "sock_getlocaladdr",
    "sock_getpeeraddr",
    "sock_getaddrinfo",
    "epoll_oneoff",
    "sock_accept_v2",
    "sock_recv_v2",
];

/// What a core module can import. Only the snapshot that is asked for is linked: each takes time.
pub(crate) fn for_module(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<Preview1>> {
    let mut linker = Linker::new(engine);
    let imports = |name| module.imports().any(|import| import.module() == name);
    if imports(PREVIEW1) {
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |host: &mut Preview1| &mut host.wasi)?;
    }
    if imports(PREVIEW0) {
        wasmtime_wasi::p0::add_to_linker_async(&mut linker, |host: &mut Preview1| &mut host.wasi)?;
    }
    // Wasmtime refuses statuses above 125, which the first snapshot's text once asked for. A
    // container's status is any byte, and 255 is a common one.
    linker.allow_shadowing(true);
    for snapshot in [PREVIEW1, PREVIEW0].into_iter().filter(|snapshot| imports(snapshot)) {
        linker.func_wrap(snapshot, "proc_exit", |status: i32| -> wasmtime::Result<()> {
            Err(I32Exit(status).into())
        })?;
    }
    Ok(linker)
}

/// The sentence for the imports of a module that `linker` lacks.
pub(crate) fn missing_in_module(
    linker: &Linker<Preview1>,
    store: &mut wasmtime::Store<Preview1>,
    module: &Module,
) -> Option<String> {
    let missing: Vec<_> = module
        .imports()
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| (import.module().to_owned(), import.name().to_owned()))
        .collect();
    if missing.is_empty() {
        return None;
    }
    if let Some((wasix, name)) = missing.iter().find(|(module, _)| module.starts_with("wasix_")) {
        return Some(format!(
            "the module is built for WASIX (it imports `{name}` from `{wasix}`), which is not \
             supported: build it for wasm32-wasip1 or wasm32-wasip2"
        ));
    }
    let wasmedge = |(module, name): &&(String, String)| {
        module == PREVIEW1
            && WASMEDGE.iter().any(|known| name.strip_suffix("_v2").unwrap_or(name) == *known)
    };
    if let Some((_, name)) = missing.iter().find(wasmedge) {
        return Some(format!(
            "the module uses WasmEdge's socket extension (it imports `{name}` from `{PREVIEW1}`), \
             which is not supported: build it for wasm32-wasip2, whose sockets are standard"
        ));
    }
    let names = missing.iter().map(|(module, name)| format!("`{name}` from `{module}`"));
    Some(format!("the module imports {}, which nothing provides", list(names)))
}

/// What a component can import, as far as it does.
pub(crate) fn for_component(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<ComponentLinker<Host>> {
    let mut linker = ComponentLinker::new(engine);
    let kind = component.component_type();
    let names: Vec<_> = kind.imports(engine).map(|(name, _)| name).collect();
    let imports = |package: &str, version: &str| {
        names.iter().any(|name| name.starts_with(package) && name.contains(version))
    };
    if imports("wasi:", "@0.2") {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    if imports("wasi:http/", "@0.2") {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if imports("wasi:", "@0.3") {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    }
    if imports("wasi:http/", "@0.3") {
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// The sentence for the imports of a component that `linker` lacks, when linking failed with
/// `error`. Wasmtime names the first only, in words that assume one knows what a linker is.
pub(crate) fn missing_in_component(
    engine: &Engine,
    component: &Component,
    error: &wasmtime::Error,
) -> String {
    let kind = component.component_type();
    let foreign = kind
        .imports(engine)
        .filter(|(name, import)| !is_provided(name) && !matches!(import.ty, ComponentItem::Type(_)))
        .map(|(name, _)| format!("`{name}`"))
        .collect::<Vec<_>>();
    if foreign.is_empty() {
        return format!("the component cannot be linked: {error:#}");
    }
    format!("the component imports {}, which nothing provides", list(foreign.into_iter()))
}

/// Packages and versions that [`for_component`] knows. A function missing inside one of these is
/// told in Wasmtime's own words.
fn is_provided(import: &str) -> bool {
    let Some((interface, version)) = import.split_once('@') else { return false };
    let package = interface.split('/').next().unwrap_or_default();
    matches!(
        package,
        "wasi:cli"
            | "wasi:clocks"
            | "wasi:filesystem"
            | "wasi:http"
            | "wasi:io"
            | "wasi:random"
            | "wasi:sockets"
    ) && (version.starts_with("0.2.") || version.starts_with("0.3."))
}

/// `a`, `b` and `c`.
pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    match items.split_last() {
        None => String::from("nothing"),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
