//! Loading: everything that can be done, and everything that can go wrong, before a guest starts.
//!
//! After [`load`] nothing is left but to call the guest: its code is mapped and linked, its
//! folders are open, its arguments are read. A pod that cannot run learns it here.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use thiserror::Error;
use tokio::runtime::{self, Runtime};
use wasmtime::component::Component;
use wasmtime::{Engine, ExternType, Module, Store};
use wasmtime_wasi::p2::bindings::CommandPre as Command2;
use wasmtime_wasi::p3::bindings::CommandPre as Command3;
use wherry_core::plan::{Profile, Run};

use crate::call::{ComponentCall, ModuleCall};
use crate::code::{self, Code};
use crate::command::Command;
use crate::exit::{Exit, Reasons};
use crate::host::{self, Host, Preview1};
use crate::http::Service;
use crate::http::outgoing::Outgoing;
use crate::imports;
use crate::limits::{Budget, Declared, Memory};
use crate::stdio::{Hangup, Streams};
use crate::world::World;

/// Why a program cannot run in this container: one sentence.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("the compiled code cannot be loaded: {0}")]
    Code(String),
    #[error("the guest's surroundings cannot be set up: {0}")]
    Surroundings(String),
    #[error("{0}")]
    Imports(String),
    #[error(
        "the module exports no `_start`, so it is not a command; name the function to call as \
         `path#export` (it exports {exports})"
    )]
    NoStart { exports: String },
    #[error(
        "the component is neither a command (`wasi:cli/run`) nor an HTTP service \
         (`wasi:http/incoming-handler`, `wasi:http/handler`); name the function to call as \
         `path#export` (it exports {exports})"
    )]
    NoWorld { exports: String },
    #[error("the module's `_start` {problem}, so it is not a command's entry point")]
    Start { problem: &'static str },
    #[error(
        "the module's memory `{name}` is shared: it was built with threads, which a Wasm container \
         has not; build it for wasm32-wasip1"
    )]
    Shared { name: String },
    #[error("the program exports no function `{name}` (it exports {exports})")]
    NoExport { name: String, exports: String },
    #[error("the function `{name}` {problem}")]
    Arguments { name: String, problem: String },
    #[error(
        "the code was compiled for a {compiled:?} and the program is a {actual:?}: \
         compile it again"
    )]
    Profile { compiled: Profile, actual: Profile },
}

impl Refusal {
    pub(crate) fn surroundings(error: impl fmt::Display) -> Refusal {
        Refusal::Surroundings(format!("{error:#}"))
    }
}

/// A guest that only waits to be started.
#[derive(Debug)]
pub struct Loaded(Job, Reasons);

enum Job {
    Command(Runtime, Box<Command>),
    Service(Box<Service>),
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Job::Command(..) => "Command",
            Job::Service(_) => "Service",
        })
    }
}

/// Maps compiled code and makes it ready to run.
///
/// The caller vouches for `cwasm`: the file was written by [`crate::compile`] and nobody writes to
/// it any more. It is native code, and Wasmtime checks its version, not its intentions.
///
/// `memory` is the file that tells the memory limit of the container's cgroup, if there is one.
///
/// `termination_log` is the file for the reason if the container ends by itself, beside stderr: for
/// the container's own program, not for an exec, whose end is not the container's.
pub fn load(
    profile: Profile,
    cwasm: File,
    run: &Run,
    memory: Option<File>,
    termination_log: Option<PathBuf>,
) -> Result<Loaded, Refusal> {
    crate::signals::end_at_signals();
    let engine = engine(profile)?;
    let code = code::map(&engine, cwasm).map_err(|error| Refusal::Code(format!("{error:#}")))?;
    let budget = Budget::new(run, memory);
    let job = match code {
        Code::Module(module) => {
            Job::Command(runtime()?, Box::new(load_module(&engine, module, run, budget)?))
        }
        Code::Component(component) => load_component(profile, &engine, component, run, budget)?,
    };
    Ok(Loaded(job, Reasons { log: termination_log }))
}

impl Loaded {
    /// Runs the guest to its end. The process should exit with the result's code.
    pub fn run(self) -> Exit {
        let Loaded(job, reasons) = self;
        match job {
            Job::Command(runtime, command) => {
                // The process ends after its only guest, and the kernel takes everything back at
                // once: to give up memory piece by piece would only make the exit later.
                let exit = runtime.block_on(Box::leak(command).run(&reasons));
                std::mem::forget(runtime);
                exit
            }
            Job::Service(service) => service.run(&reasons),
        }
    }
}

/// Commands have a process and a thread of their own.
fn runtime() -> Result<Runtime, Refusal> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(Refusal::surroundings)
}

fn engine(profile: Profile) -> Result<Engine, Refusal> {
    let mut config = crate::config::config(profile);
    code::allow_own_mappings(&mut config);
    match profile {
        Profile::Command => crate::config::tune_for_command(&mut config),
        Profile::Service => crate::config::tune_for_service(&mut config),
    }
    Engine::new(&config).map_err(Refusal::surroundings)
}

fn load_module(
    engine: &Engine,
    module: Module,
    run: &Run,
    budget: Budget,
) -> Result<Command, Refusal> {
    no_threads(&module)?;
    let linker = imports::for_module(engine, &module).map_err(Refusal::surroundings)?;
    let streams = Streams::new(Hangup::Errno);
    let wasi = host::preview1(run, &streams).map_err(Refusal::surroundings)?;
    let memory = Memory::new(budget, Declared::by_module(&module));
    let mut store = Preview1::store(engine, wasi, memory);
    if let Some(sentence) = imports::missing_in_module(&linker, &mut store, &module) {
        return Err(Refusal::Imports(sentence));
    }
    let call = match &run.export {
        Some(export) => Some(ModuleCall::new(&module, export, run.args.get(1..).unwrap_or(&[]))?),
        None if is_start(module.get_export("_start"))? => None,
        None => return Err(Refusal::NoStart { exports: crate::call::module_exports(&module) }),
    };
    let pre = linker
        .instantiate_pre(&module)
        .map_err(|error| Refusal::Imports(format!("the module cannot be linked: {error:#}")))?;
    Ok(match call {
        None => Command::Start { store, pre },
        Some(call) => Command::CallModule { store, pre, call },
    })
}

/// An entry point is called with nothing and answers nothing; there may be none.
fn is_start(export: Option<ExternType>) -> Result<bool, Refusal> {
    match export {
        None => Ok(false),
        Some(ExternType::Func(start)) if start.params().len() + start.results().len() == 0 => {
            Ok(true)
        }
        Some(ExternType::Func(_)) => Err(Refusal::Start { problem: "takes or returns values" }),
        Some(_) => Err(Refusal::Start { problem: "is no function" }),
    }
}

fn no_threads(module: &Module) -> Result<(), Refusal> {
    let shared = module.exports().find(|export| match export.ty() {
        ExternType::Memory(memory) => memory.is_shared(),
        _ => false,
    });
    shared.map_or(Ok(()), |export| Err(Refusal::Shared { name: export.name().to_owned() }))
}

fn load_component(
    profile: Profile,
    engine: &Engine,
    component: Component,
    run: &Run,
    budget: Budget,
) -> Result<Job, Refusal> {
    let world = World::of_exports(component.component_type().exports(engine).map(|(name, _)| name));
    let actual = world.map_or(Profile::Command, World::profile);
    if actual != profile {
        return Err(Refusal::Profile { compiled: profile, actual });
    }
    let call = match &run.export {
        Some(export) => {
            let arguments = run.args.get(1..).unwrap_or(&[]);
            Some(ComponentCall::new(engine, &component, export, arguments)?)
        }
        None => None,
    };
    let linker = imports::for_component(engine, &component).map_err(Refusal::surroundings)?;
    let pre = linker.instantiate_pre(&component).map_err(|error| {
        Refusal::Imports(imports::missing_in_component(engine, &component, &error))
    })?;
    let broken = |error: wasmtime::Error| Refusal::Imports(format!("{error:#}"));
    let streams = Streams::new(Hangup::Closed);
    let outgoing = Outgoing::new(run);
    let store = |run| -> Result<Store<Host>, Refusal> {
        let wasi = host::command(run, &streams).map_err(Refusal::surroundings)?;
        let memory = Memory::new(budget.clone(), Declared::by_component(&component));
        Ok(Host::store(engine, wasi, outgoing.clone(), memory))
    };
    let command = match (call, world) {
        (Some(call), _) => {
            let mut store = store(run)?;
            crate::config::never_interrupt(&mut store, profile);
            Command::CallComponent { store, pre, call }
        }
        (None, Some(World::Command2)) => {
            Command::Run2 { store: store(run)?, pre: Command2::new(pre).map_err(broken)? }
        }
        (None, Some(World::Command3)) => {
            Command::Run3 { store: store(run)?, pre: Command3::new(pre).map_err(broken)? }
        }
        (None, Some(world @ (World::Proxy2 | World::Service3))) => {
            let service = Service::new(engine, world, pre, run, streams, outgoing, budget.clone())?;
            return Ok(Job::Service(Box::new(service)));
        }
        (None, None | Some(World::Preview1)) => {
            let exports = crate::call::component_exports(engine, &component);
            return Err(Refusal::NoWorld { exports });
        }
    };
    Ok(Job::Command(runtime()?, Box::new(command)))
}
