//! The compiled code of a program: from the node's cache, or compiled into it.
//!
//! Nothing is compiled here. `wherry compile` runs in its jail, reads the program on descriptor 0,
//! writes code to an unnamed file of the cache on descriptor 1 and says one line of JSON on 2.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use wherry_cache::{Cache, Digest, Entry, FillError, RUN};
use wherry_core::image::MAX_PROGRAM_BYTES;
use wherry_core::lifecycle::{Code, Denied};
use wherry_core::plan::{Profile, Program};
use wherry_core::spec::Options;

use crate::create::facts;
use crate::installed;
use crate::limited::{self, Abort};
use crate::program;
use crate::protocol::start::write_atomically;
use crate::state_file::Filling;
use crate::turn;

/// Wall time in which the compiler must have used up its processor time, however busy the node is.
const WALL_FACTOR: u64 = 4;
/// Asking the node's containerd for a layer; large ones take their time.
const FETCH: Duration = Duration::from_secs(60);
const ENGINE_ID: Duration = Duration::from_secs(10);

/// Who asks, and for what.
pub(crate) struct Wanted<'a> {
    /// The program, for sentences.
    pub(crate) name: &'a str,
    /// Whose image may hold it.
    pub(crate) container: &'a str,
    pub(crate) options: &'a Options,
    pub(crate) namespace: &'a str,
    /// containerd's gRPC socket.
    pub(crate) containerd: &'a str,
    pub(crate) abort: &'a Abort,
    /// Hears the pid of the compiler and what it works at, so that whoever cleans up can end both.
    pub(crate) compiling: &'a dyn Fn(u32, &Filling),
}

/// Compiled code, open and read-only.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) file: File,
    pub(crate) profile: Profile,
}

impl From<Entry> for Compiled {
    fn from(entry: Entry) -> Compiled {
        Compiled { file: entry.file, profile: entry.profile }
    }
}

/// A pod's sandbox runs none: at its place on the wire is an empty file.
pub(crate) fn none() -> Result<Compiled, Denied> {
    let file = File::open("/dev/null").map_err(|e| {
        Denied::new(Code::FailedPrecondition, format!("cannot open /dev/null: {e}"))
    })?;
    Ok(Compiled { file, profile: Profile::Command })
}

/// The code of the image's Wasm layer, where no file of the container is the program.
pub(crate) fn of_layer(wanted: &Wanted<'_>, digest: &Digest) -> Result<Compiled, Denied> {
    of(wanted, digest, || fetch(wanted))
}

/// The code of this WebAssembly file.
pub(crate) fn of_file(wanted: &Wanted<'_>, file: File) -> Result<Compiled, Denied> {
    let unreadable = |e| unreadable(wanted, &e);
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > MAX_PROGRAM_BYTES {
        return Err(unreadable(too_large()));
    }
    let digest = Digest::of_file(&file).map_err(unreadable)?;
    of(wanted, &digest, || Ok(file))
}

/// The code of the built-in programs, which lie beside the shim as one module.
pub(crate) fn of_builtin(wanted: &Wanted<'_>) -> Result<Compiled, Denied> {
    let wasmbox = installed::wasmbox()?;
    // Reading all of it for each probe would cost more than the probe.
    static KNOWN: OnceLock<Digest> = OnceLock::new();
    let digest = match KNOWN.get() {
        Some(digest) => digest,
        None => {
            let digest = Digest::of_file(wasmbox.file()).map_err(|e| wasmbox.unusable(&e))?;
            KNOWN.get_or_init(|| digest)
        }
    };
    of(wanted, digest, || own(wasmbox.file()))
}

/// From the cache, or compiled from what `open` brings.
///
/// What is compiled is a copy that nobody can change, and its own digest is its name in the cache:
/// the file may lie on a volume, where somebody else writes to it between two of our looks.
fn of(
    wanted: &Wanted<'_>,
    digest: &Digest,
    open: impl FnOnce() -> Result<File, Denied>,
) -> Result<Compiled, Denied> {
    let engine = engine_id(wanted.abort)?;
    let cache = Cache::open(&wanted.options.cache_dir, wanted.options.cache_max_bytes)
        .map_err(|e| unusable(&e))?;
    if let Some(entry) = cache.lookup(&engine, digest).map_err(|e| unusable(&e))? {
        return Ok(entry.into());
    }
    let unreadable = |e| unreadable(wanted, &e);
    let copy = sealed_copy(&open()?).map_err(unreadable)?;
    let digest = Digest::of_file(&copy).map_err(unreadable)?;
    let filling = Filling {
        cache: wanted.options.cache_dir.clone(),
        engine: engine.clone(),
        digest: digest.to_string(),
    };
    let pause = |time| match wanted.abort.is_told_within(time) {
        true => Err(given_up(wanted)),
        false => Ok(()),
    };
    let compile = |output: &File| compile(wanted, &filling, &copy, output);
    match cache.fill_while(&engine, &digest, pause, compile) {
        Ok(entry) => Ok(entry.into()),
        Err(FillError::Compile(denied)) => Err(denied),
        Err(FillError::Cache(error)) => Err(unusable(&error)),
    }
}

fn given_up(wanted: &Wanted<'_>) -> Denied {
    Denied::new(Code::FailedPrecondition, format!("{}: was given up", wanted.name))
}

fn unreadable(wanted: &Wanted<'_>, error: &std::io::Error) -> Denied {
    Denied::new(Code::FailedPrecondition, format!("cannot read {}: {error}", wanted.name))
}

fn too_large() -> std::io::Error {
    let why = format!("it has more than the {MAX_PROGRAM_BYTES} bytes that a program may have");
    std::io::Error::new(std::io::ErrorKind::FileTooLarge, why)
}

/// The file's bytes as they are now, in memory, for ever (memfd_create(2), "File sealing").
fn sealed_copy(file: &File) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("program", flags)?);
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    // One byte more than may be tells that there are more.
    let copied = std::io::copy(&mut file.take(MAX_PROGRAM_BYTES + 1), &mut copy)?;
    if copied > MAX_PROGRAM_BYTES {
        return Err(too_large());
    }
    copy.seek(SeekFrom::Start(0))?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, all)?;
    Ok(copy)
}

fn compile(
    wanted: &Wanted<'_>,
    filling: &Filling,
    program: &File,
    output: &File,
) -> Result<Profile, Denied> {
    let seconds = wanted.options.compile_timeout_seconds;
    let mut command = installed::wherry()?.command();
    command
        .arg("compile")
        .arg("--memory")
        .arg(wanted.options.compile_memory_bytes.to_string())
        .arg("--cpu-seconds")
        .arg(seconds.to_string())
        .env_clear()
        .stdin(own(program)?)
        .stdout(own(output)?);
    let limit = Duration::from_secs(seconds.saturating_mul(WALL_FACTOR));
    let name = wanted.name;
    let turn = turn::take(&Path::new(RUN).join("compiling"), facts().cpus.get(), wanted.abort);
    let turn = turn.map_err(|e| {
        Denied::new(
            Code::FailedPrecondition,
            format!("cannot compile {name}: {RUN}/compiling: {e}"),
        )
    })?;
    let Some(_turn) = turn else {
        return Err(given_up(wanted));
    };
    let started = |pid| (wanted.compiling)(pid, filling);
    let ended = limited::run(command, limit, wanted.abort, &started).map_err(|why| {
        Denied::new(Code::FailedPrecondition, format!("cannot compile {name}: {why}"))
    })?;
    let answer = last_json(&ended.said);
    if let Some(why) = answer.as_ref().and_then(|a| a["error"].as_str()) {
        return Err(Denied::new(Code::InvalidArgument, format!("cannot compile {name}: {why}")));
    }
    let profile = answer.and_then(|a| serde_json::from_value(a["profile"].clone()).ok());
    match profile {
        Some(profile) if ended.status.success() => Ok(profile),
        _ => Err(cut_short(wanted, &ended)),
    }
}

/// A compiler that says nothing has met its limits: the jail can't tell, the signal does.
fn cut_short(wanted: &Wanted<'_>, ended: &limited::Ended) -> Denied {
    let (name, options) = (wanted.name, wanted.options);
    let why = match ended.status.signal() {
        Some(6) => format!(
            "it needs more memory than the {} bytes that a compiler may use; an administrator can \
             raise compile_memory_bytes",
            options.compile_memory_bytes
        ),
        // SIGXCPU, at the limit of processor time.
        Some(24) => format!(
            "it takes longer than the {} s that a compiler may work; an administrator can raise \
             compile_timeout_seconds",
            options.compile_timeout_seconds
        ),
        Some(9) => "the compiler was killed: by the kernel, if the node ran out of memory, or by \
                    somebody; start the container again"
            .to_owned(),
        _ => format!("the compiler ended with {}: {}", ended.status, ended.said.trim()),
    };
    Denied::new(Code::ResourceExhausted, format!("cannot compile {name}: {why}"))
}

/// The digest of the image's Wasm layer, where the root file system does not hold the program.
pub(crate) fn layer_digest(wanted: &Wanted<'_>, program: &Program) -> Result<Digest, Denied> {
    let answer = ask_containerd(wanted, None)?;
    let layers = match (answer["none"].as_str(), answer["error"].as_str()) {
        (Some(why), _) | (None, Some(why)) => why.to_owned(),
        (None, None) => "the image has no WebAssembly layer".to_owned(),
    };
    let digest = answer["digest"].as_str().and_then(|d| d.strip_prefix("sha256:"));
    match digest.and_then(|hex| hex.parse().ok()) {
        Some(digest) => Ok(digest),
        None => Err(program::missing(program, &layers)),
    }
}

fn fetch(wanted: &Wanted<'_>) -> Result<File, Denied> {
    let failed =
        |e: std::io::Error| Denied::new(Code::Unknown, format!("cannot fetch the layer: {e}"));
    let memory =
        rustix::fs::memfd_create("layer", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut file = File::from(memory);
    let answer = ask_containerd(wanted, Some(&file))?;
    if let Some(why) = answer["error"].as_str().or(answer["none"].as_str()) {
        let sentence = format!("cannot fetch the image's WebAssembly layer: {why}");
        return Err(Denied::new(Code::FailedPrecondition, sentence));
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}

fn ask_containerd(wanted: &Wanted<'_>, to: Option<&File>) -> Result<serde_json::Value, Denied> {
    let mut command = installed::wherry()?.command();
    command.args(["fetch", "--address", wanted.containerd, "--namespace", wanted.namespace]);
    command.args(["--container", wanted.container]).env_clear().stdin(Stdio::null());
    match to {
        Some(file) => command.stdout(own(file)?),
        None => command.arg("--digest-only").stdout(Stdio::null()),
    };
    let ended = limited::run(command, FETCH, wanted.abort, &|_| {})
        .map_err(|why| Denied::new(Code::FailedPrecondition, why))?;
    let silent =
        || serde_json::json!({ "error": format!("wherry fetch ended with {}", ended.status) });
    Ok(last_json(&ended.said).unwrap_or_else(silent))
}

/// The id under which code is kept: asked of `wherry` once, and remembered for this very file.
fn engine_id(abort: &Abort) -> Result<String, Denied> {
    let program = installed::wherry()?;
    let failed = |e: std::io::Error| program.unusable(&e);
    let m = program.file().metadata().map_err(failed)?;
    let identity =
        [m.dev(), m.ino(), m.size(), m.ctime().cast_unsigned(), m.ctime_nsec().cast_unsigned()];
    let name = identity.map(|n| format!("{n:x}")).join("-");
    let remembered = Path::new(RUN).join("engines").join(name);
    if let Ok(id) = std::fs::read_to_string(&remembered) {
        return Ok(id);
    }
    let mut answer = tempfile().map_err(failed)?;
    let mut command = program.command();
    command.arg("engine-id").env_clear().stdin(Stdio::null()).stdout(own(&answer)?);
    let ended = limited::run(command, ENGINE_ID, abort, &|_| {})
        .map_err(|why| Denied::new(Code::FailedPrecondition, why))?;
    let id = read_from_start(&mut answer).map_err(failed)?.trim().to_owned();
    if !ended.status.success() || id.is_empty() {
        let sentence =
            format!("wherry engine-id ended with {}: {}", ended.status, ended.said.trim());
        return Err(Denied::new(Code::FailedPrecondition, sentence));
    }
    // Not remembering only costs the question again.
    if let Some(folder) = remembered.parent() {
        let _ = std::fs::create_dir_all(folder);
        let _ = write_atomically(&remembered, &id);
    }
    Ok(id)
}

fn tempfile() -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create("answer", MemfdFlags::CLOEXEC)?.into())
}

fn read_from_start(file: &mut File) -> std::io::Result<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn own(file: &File) -> Result<File, Denied> {
    file.try_clone()
        .map_err(|e| Denied::new(Code::ResourceExhausted, format!("cannot copy a descriptor: {e}")))
}

/// The answer is the last line: an allocator or a loader may have had something to say before.
fn last_json(said: &str) -> Option<serde_json::Value> {
    let line = said.lines().rev().find(|line| line.starts_with('{'))?;
    serde_json::from_str(line).ok()
}

fn unusable(error: &wherry_cache::Error) -> Denied {
    let mut sentence = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        sentence.push_str(": ");
        sentence.push_str(&source.to_string());
        cause = source.source();
    }
    Denied::new(Code::FailedPrecondition, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A container that shares a volume with another one could change a program after its digest
    /// was taken and before it was compiled, and have its own code kept under that digest.
    #[test]
    fn what_is_compiled_cannot_be_changed_after_it_was_looked_at() {
        let mut file = tempfile().unwrap();
        file.write_all(b"pristine").unwrap();
        let mut copy = sealed_copy(&file).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"poisoned").unwrap();
        assert_eq!(read_from_start(&mut copy).unwrap(), "pristine");
        copy.write_all(b"x").unwrap_err();
        copy.set_len(0).unwrap_err();
        assert_eq!(Digest::of_file(&copy).unwrap(), Digest::of(b"pristine"));
    }
}
