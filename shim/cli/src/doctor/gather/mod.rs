//! The facts of this node. Reads, and asks; what any of it means is said elsewhere.

mod cri;
mod daemon;
mod kernel;
mod programs;
mod remains;
mod root;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use wherry_core::spec::Options;

pub(super) use self::root::enter;
use super::containerd::Handler;
use super::facts::{Containerd, Facts, Search};
use crate::args::Doctor;

/// How long any program may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn facts(what: &Doctor) -> anyhow::Result<Facts> {
    let containerd = daemon::find(what)?;
    let found = match &containerd {
        Search::Found(found) => Some(&**found),
        Search::None { .. } | Search::Several(_) => None,
    };
    let handlers = found.map(our_handlers).unwrap_or_default();
    let options: Vec<Options> = handlers.iter().filter_map(|(_, one)| options(one)).collect();
    let path = found.map_or_else(search_path, |found| found.path.clone());
    let runc =
        options.first().map_or_else(|| "runc".to_owned(), |one| one.runc.binary_name.clone());
    Ok(Facts {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: kernel::kernel(),
        cgroups: kernel::cgroups(),
        installed: match found {
            Some(found) => programs::installed(&handlers, &found.path),
            None => Default::default(),
        },
        runc: look_up(&runc, &path),
        caches: remains::caches(&options),
        leftovers: found.map(remains::leftovers).transpose()?.unwrap_or_default(),
        containerd,
    })
}

fn our_handlers(containerd: &Containerd) -> Vec<(String, Handler)> {
    let cri = containerd.config.as_ref().ok().and_then(|config| config.cri.as_ref());
    let all = cri.into_iter().flat_map(|cri| &cri.handlers);
    all.filter(|(_, one)| one.is_ours()).map(|(name, one)| (name.clone(), one.clone())).collect()
}

/// As the shim gets them; what is wrong with them is judged elsewhere.
fn options(handler: &Handler) -> Option<Options> {
    let file = handler.options.get("ConfigPath").and_then(toml::Value::as_str);
    let text = match file.filter(|path| !path.is_empty()) {
        Some(path) => std::fs::read_to_string(path).ok()?,
        None => handler.options.to_string(),
    };
    Options::parse(&text).ok()
}

/// Our own, where no containerd tells its own.
fn search_path() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}

/// As Go's `exec.LookPath`: a name is looked for, a path is one already.
fn look_up(program: &str, path: &[PathBuf]) -> Option<PathBuf> {
    let runs = |file: &PathBuf| {
        file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    path.iter().map(|folder| folder.join(program)).find(runs)
}

/// Runs a program to its end, which has to come in time.
fn run(command: &mut Command) -> Result<Output, String> {
    let name = Path::new(command.get_program()).display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|e| format!("{name} can't be run: {e}"))?;
    let pid = rustix::process::Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.map_err(|e| format!("{name}: {e}")),
        Err(_) => {
            // It is our child and nobody has waited for it: the pid is its own.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            Err(format!("{name} did not answer within {} s", PATIENCE.as_secs()))
        }
    }
}
