//! The process: its program, arguments, environment, folder, user and limits.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;

use super::{Facts, Refusal, invalid, no_nul, unsupported};
use crate::plan::{Program, Rlimit, Terminal, User};

/// Where programs are looked for when the environment names no `PATH`: what containerd and Docker
/// put into the environment of an image that has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// At least one, none with a NUL.
pub(super) fn args(process: &Process) -> Result<Vec<String>, Refusal> {
    let args: Vec<String> = process.args().iter().flatten().cloned().collect();
    if args.is_empty() {
        return Err(invalid(
            "process.args",
            "is empty: its first entry names the WebAssembly file to run",
        ));
    }
    for (n, arg) in args.iter().enumerate() {
        no_nul(&format!("process.args[{n}]"), arg)?;
    }
    Ok(args)
}

/// Without Docker's own init (`docker run --init`, moby `daemon/oci_linux.go`, `WithLibnetwork` and
/// `inSpec.Args`): it forwards signals to the program and takes its orphans, and a guest gets its
/// signals itself and has no children.
pub(super) fn without_init<'a>(
    args: &'a [String],
    mut destinations: impl Iterator<Item = &'a Path>,
) -> &'a [String] {
    const INIT: &str = "/sbin/docker-init";
    match args {
        [init, dashes, program @ ..]
            if init == INIT
                && dashes == "--"
                && !program.is_empty()
                && destinations.any(|destination| destination == Path::new(INIT)) =>
        {
            program
        }
        _ => args,
    }
}

/// In the order of the spec; of a name given twice the last value, as runc does (`env.go`).
pub(super) fn env(process: &Process) -> Result<Vec<(String, String)>, Refusal> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut seen = BTreeSet::new();
    let given = process.env().as_deref().unwrap_or_default();
    for (n, entry) in given.iter().enumerate().rev() {
        let field = format!("process.env[{n}]");
        no_nul(&field, entry)?;
        let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            // The entry may be a secret that lost its name: say where it is, not what it is.
            return Err(invalid(field, "is not of the form NAME=VALUE"));
        };
        if seen.insert(name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env.reverse();
    Ok(env)
}

pub(super) fn cwd(process: &Process) -> Result<String, Refusal> {
    let cwd = process.cwd();
    match cwd.to_str() {
        Some(text) if cwd.is_absolute() => no_nul("process.cwd", text).map(str::to_owned),
        _ => Err(invalid(
            "process.cwd",
            format!("is \"{}\": it must be an absolute path", cwd.display()),
        )),
    }
}

/// `path`, or `path#export`. The first `#` divides: exports of components contain more of them
/// (`docs:adder/add@0.1.0#add`), names of files hardly any.
pub(super) fn program(arg0: &str, env: &[(String, String)], cwd: &str) -> Result<Program, Refusal> {
    let (name, export) = match arg0.split_once('#') {
        None => (arg0, None),
        Some((_, "")) => {
            return Err(invalid(
                "process.args[0]",
                format!("is {arg0:?}: after # it must name an export"),
            ));
        }
        Some((name, export)) => (name, Some(export.to_owned())),
    };
    Ok(Program { name: name.to_owned(), export, candidates: candidates(name, env, cwd) })
}

/// Where to look, in order: as `execvpe(3)` does, then the current folder and the root. Images
/// of nothing but `COPY app.wasm /` with an entry point of `app.wasm` are common, and their authors
/// never asked what `PATH` is.
///
/// An empty name (`#export`, or an image that only has a layer) has no candidates.
pub(super) fn candidates(name: &str, env: &[(String, String)], cwd: &str) -> Vec<PathBuf> {
    let cwd = Path::new(cwd);
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains('/') {
        return vec![cwd.join(name)];
    }
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let mut candidates: Vec<PathBuf> = Vec::new();
    for folder in path.split(':').map(Path::new).chain([cwd, Path::new("/")]) {
        let candidate = cwd.join(folder).join(name);
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates
}

/// `NGROUPS_MAX` (setgroups(2)).
const MAX_GROUPS: usize = 65_536;

pub(super) fn user(process: &Process) -> Result<User, Refusal> {
    let user = process.user();
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(invalid(
            "process.user.umask",
            format!("is {umask:#o}: it must be at most 0o777"),
        ));
    }
    let additional = user.additional_gids().as_ref().map_or(0, Vec::len);
    if additional > MAX_GROUPS {
        return Err(invalid(
            "process.user.additionalGids",
            format!("are {additional}: a process has at most {MAX_GROUPS}"),
        ));
    }
    let groups = user.additional_gids().iter().flatten().map(|gid| ("additionalGids", *gid));
    for (field, id) in [("uid", user.uid()), ("gid", user.gid())].into_iter().chain(groups) {
        // It means "leave it as it is" (setresuid(2)), which is root.
        if id == u32::MAX {
            return Err(invalid(
                format!("process.user.{field}"),
                format!("is {id}, which is no id: the highest is {}", u32::MAX - 1),
            ));
        }
    }
    Ok(User {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
    })
}

/// Streams, the wire, what the engine waits with, and folders: with 11 a guest that prints a line
/// could not be set up.
const OWN_DESCRIPTORS: u64 = 16;

pub(super) fn rlimits(process: &Process) -> Result<Vec<Rlimit>, Refusal> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (n, limit) in process.rlimits().iter().flatten().enumerate() {
        let field = format!("process.rlimits[{n}]");
        let name = limit.typ().to_string();
        if limits.iter().any(|earlier| earlier.name == name) {
            return Err(invalid(field, format!("is a second {name}: give each limit once")));
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        if soft > hard {
            return Err(invalid(
                field,
                format!("is {name} with a soft limit ({soft}) over its hard one ({hard})"),
            ));
        }
        if name == "RLIMIT_NOFILE" && soft < OWN_DESCRIPTORS {
            return Err(invalid(
                field,
                format!(
                    "is {name} with a soft limit of {soft}: the process that runs a guest needs \
                     {OWN_DESCRIPTORS} descriptors of its own"
                ),
            ));
        }
        limits.push(Rlimit { name, soft, hard });
    }
    Ok(limits)
}

/// The size is nothing without a terminal (runtime spec, config.md, "Process": "Runtimes MUST
/// ignore `consoleSize` if `terminal` is `false` or unset").
pub(super) fn terminal(process: &Process) -> Result<Option<Terminal>, Refusal> {
    if !process.terminal().unwrap_or(false) {
        return Ok(None);
    }
    let size = process.console_size().unwrap_or_default();
    match (u16::try_from(size.height()), u16::try_from(size.width())) {
        (Ok(rows), Ok(columns)) => Ok(Some(Terminal { rows, columns })),
        _ => Err(invalid("process.consoleSize", "is larger than a terminal can be (65535)")),
    }
}

pub(super) fn oom_score_adj(process: &Process) -> Result<Option<i32>, Refusal> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => Err(invalid(
            "process.oomScoreAdj",
            format!("is {score}: it must be between -1000 and 1000"),
        )),
        score => Ok(score),
    }
}

pub(super) fn apparmor(process: &Process, facts: &Facts) -> Result<Option<String>, Refusal> {
    match process.apparmor_profile().as_deref() {
        None | Some("" | "unconfined") => Ok(None),
        Some(profile) if facts.apparmor => Ok(Some(profile.to_owned())),
        Some(profile) => Err(unsupported(
            "process.apparmorProfile",
            format!("is {profile:?}, but AppArmor is not enabled on this node: leave it out"),
        )),
    }
}

pub(super) fn selinux(process: &Process, facts: &Facts) -> Result<Option<String>, Refusal> {
    match process.selinux_label().as_deref() {
        None | Some("") => Ok(None),
        Some(label) if facts.selinux => Ok(Some(label.to_owned())),
        Some(label) => Err(unsupported(
            "process.selinuxLabel",
            format!("is {label:?}, but SELinux is not enabled on this node: leave it out"),
        )),
    }
}
