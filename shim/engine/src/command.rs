//! Commands: guests that are called once, and whose end is the container's.

use wasmtime::Store;
use wasmtime::component::InstancePre as ComponentPre;
use wasmtime::{InstancePre, TypedFunc};
use wasmtime_wasi::p2::bindings::CommandPre as Command2;
use wasmtime_wasi::p3::bindings::CommandPre as Command3;

use crate::call::{ComponentCall, ModuleCall};
use crate::exit::{Exit, Reasons};
use crate::host::{Host, Preview1};

pub(crate) enum Command {
    Start { store: Store<Preview1>, pre: InstancePre<Preview1> },
    CallModule { store: Store<Preview1>, pre: InstancePre<Preview1>, call: ModuleCall },
    Run2 { store: Store<Host>, pre: Command2<Host> },
    Run3 { store: Store<Host>, pre: Command3<Host> },
    CallComponent { store: Store<Host>, pre: ComponentPre<Host>, call: ComponentCall },
}

impl Command {
    pub(crate) async fn run(&mut self, reasons: &Reasons) -> Exit {
        match self {
            Command::Start { store, pre } => {
                let end = start(store, pre).await;
                Exit::of(store.data().memory.explain(end), reasons)
            }
            Command::CallModule { store, pre, call } => {
                let end = call.run(store, pre).await;
                Exit::of(store.data().memory.explain(end), reasons)
            }
            Command::Run2 { store, pre } => {
                let end = run2(store, pre).await;
                run_result(store.data().memory.explain(end), reasons)
            }
            Command::Run3 { store, pre } => {
                let end = run3(store, pre).await;
                run_result(store.data().memory.explain(end), reasons)
            }
            Command::CallComponent { store, pre, call } => {
                let end = call.run(store, pre).await;
                run_result(store.data().memory.explain(end), reasons)
            }
        }
    }
}

/// A guest that returns an error has said what it had to say itself.
fn run_result(result: wasmtime::Result<Result<(), ()>>, reasons: &Reasons) -> Exit {
    match result {
        Ok(Err(())) => Exit::FAILURE,
        result => Exit::of(result, reasons),
    }
}

async fn start(store: &mut Store<Preview1>, pre: &InstancePre<Preview1>) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, "_start")?;
    start.call_async(store, ()).await
}

async fn run2(store: &mut Store<Host>, pre: &Command2<Host>) -> wasmtime::Result<Result<(), ()>> {
    let command = pre.instantiate_async(&mut *store).await?;
    command.wasi_cli_run().call_run(store).await
}

async fn run3(store: &mut Store<Host>, pre: &Command3<Host>) -> wasmtime::Result<Result<(), ()>> {
    let command = pre.instantiate_async(&mut *store).await?;
    store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await?
}
