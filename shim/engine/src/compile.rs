//! Compiling: hostile bytes in, native code out. Called in a process of its own, in a jail.

use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::num::NonZeroUsize;

use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;
use wherry_core::plan::Profile;

use crate::config::config;
use crate::world::World;

/// What was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How the code was compiled; [`crate::load`] wants to be told.
    pub profile: Profile,
    pub kind: Kind,
}

/// The two kinds of binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Module,
    Component,
}

#[derive(Debug, Error)]
pub enum CompileError {
    #[error("the program is empty: 0 bytes, where a WebAssembly module or component is expected")]
    Empty,
    #[error(
        "the program is native code (an ELF file), not WebAssembly: \
         build it for a target like wasm32-wasip1 or wasm32-wasip2"
    )]
    Native,
    #[error("the program is not WebAssembly: it starts with {start}, not with `\\0asm`")]
    NotWasm { start: String },
    #[error("the program is truncated: it ends after {length} bytes, in its header")]
    Header { length: usize },
    #[error(
        "the program has WebAssembly version {version:#x}, which is unknown: \
         modules have 0x1 and components 0x1000d"
    )]
    Version { version: u32 },
    #[error("the text is not WebAssembly: {0}")]
    Text(#[source] wat::Error),
    #[error("the program is broken: {0}")]
    Malformed(#[source] wasmparser::BinaryReaderError),
    #[error("the program cannot be compiled: {0}")]
    Compile(String),
    #[error("the engine cannot be set up: {0}")]
    Engine(String),
    #[error("the compiled code cannot be written")]
    Write(#[source] io::Error),
}

/// Names everything that compiled code depends on besides the program: the engine's version, its
/// settings, and the features of this machine's processor. Code compiled under one id is valid
/// for every guest that has the same id.
pub fn engine_id() -> Result<String, CompileError> {
    let mut hasher = Sha256Hasher(Sha256::new());
    for profile in [Profile::Command, Profile::Service] {
        engine(profile, None)?.precompile_compatibility_hash().hash(&mut hasher);
    }
    Ok(hasher.0.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Compiles a module, a component, or the text of either, with so many threads.
pub fn compile(
    program: &[u8],
    threads: NonZeroUsize,
    out: &mut impl Write,
) -> Result<Report, CompileError> {
    let text;
    let (wasm, kind) = match identify(program)? {
        Some(kind) => (program, kind),
        None => {
            text = wat::parse_bytes(program).map_err(CompileError::Text)?;
            let kind = identify(&text)?.ok_or(CompileError::Empty)?;
            (&*text, kind)
        }
    };
    let profile = match kind {
        Kind::Module => Profile::Command,
        Kind::Component => component_profile(wasm)?,
    };
    let engine = engine(profile, Some(threads))?;
    let code = in_pool(threads, || match kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component => engine.precompile_component(wasm),
    })?
    .map_err(|error| CompileError::Compile(format!("{error:#}")))?;
    out.write_all(&code).and_then(|()| out.flush()).map_err(CompileError::Write)?;
    Ok(Report { profile, kind })
}

/// What the first bytes say; `None` for text.
fn identify(program: &[u8]) -> Result<Option<Kind>, CompileError> {
    let length = program.len();
    if length == 0 {
        return Err(CompileError::Empty);
    }
    if program.starts_with(b"\x7fELF") {
        return Err(CompileError::Native);
    }
    if !program.starts_with(b"\0asm") {
        if b"\0asm".starts_with(program) {
            return Err(CompileError::Header { length });
        }
        if looks_like_text(program) {
            return Ok(None);
        }
        let start = program.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        return Err(CompileError::NotWasm { start: format!("the bytes {}", start.join(" ")) });
    }
    let Some(version) = program.get(4..8).and_then(|bytes| bytes.try_into().ok()) else {
        return Err(CompileError::Header { length });
    };
    match u32::from_le_bytes(version) {
        0x1 => Ok(Some(Kind::Module)),
        0x1_000d => Ok(Some(Kind::Component)),
        version => Err(CompileError::Version { version }),
    }
}

/// Text starts with a parenthesis, after white space and comments.
fn looks_like_text(program: &[u8]) -> bool {
    let start = program.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(start, Some(b'(' | b';')) && std::str::from_utf8(program).is_ok()
}

/// The world of a component decides how it is compiled, and is read from its outermost exports.
fn component_profile(wasm: &[u8]) -> Result<Profile, CompileError> {
    let mut names = Vec::new();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(CompileError::Malformed)? {
            Payload::Version { encoding: Encoding::Module | Encoding::Component, .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.push(export.map_err(CompileError::Malformed)?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(World::of_exports(names.into_iter()).map_or(Profile::Command, World::profile))
}

fn engine(profile: Profile, threads: Option<NonZeroUsize>) -> Result<Engine, CompileError> {
    let mut config = config(profile);
    config.parallel_compilation(threads.is_some_and(|threads| threads.get() > 1));
    Engine::new(&config).map_err(|error| CompileError::Engine(format!("{error:#}")))
}

/// Runs the compiler with a bounded number of threads: without a pool of its own, rayon takes one
/// thread for each processor of the node, whatever the jail allows.
fn in_pool<T: Send>(
    threads: NonZeroUsize,
    compile: impl FnOnce() -> T + Send,
) -> Result<T, CompileError> {
    if threads.get() == 1 {
        return Ok(compile());
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .build()
        .map_err(|error| CompileError::Engine(error.to_string()))?;
    Ok(pool.install(compile))
}

/// A hash that is the same in every process, unlike the standard library's.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
