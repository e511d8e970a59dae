//! `start`: the pod's shim is there, and containerd is told where.
//!
//! ```text
//! containerd ── start ──► note the address ──► bind ──── fork ──► answer, tell the shim, exit
//!                                                │ in use   └──► the shim: serves the socket, once
//!                                                └─► answer, exit             containerd was answered
//! ```
//!
//! The shim is a fork of this process, made before there is any thread: a second exec, as
//! containerd's Go helper and `containerd-shim` do it, would cost a millisecond for each container.
//! stdout and stderr carry the answer and nothing else: containerd reads both as one.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use containerd_shim::StartOpts;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use wherry_sandbox::process::{Fork, fork};

use super::bootstrap::{self, Bootstrap};
use super::socket::{self, Found};
use crate::args::Args;
use crate::daemon::{self, Daemon};
use crate::options;

/// As much as containerd itself reads of it.
const MAX_STDIN: u64 = 10 << 20;

pub(crate) fn run(args: &Args) -> Result<(), String> {
    if args.id.is_empty() || args.namespace.is_empty() {
        return Err("start needs -id and -namespace".into());
    }
    let mut stdin = Vec::new();
    std::io::stdin()
        .take(MAX_STDIN)
        .read_to_end(&mut stdin)
        .map_err(|e| format!("cannot read what containerd says on stdin: {e}"))?;
    let boot = bootstrap::read(args, &stdin, &|key| std::env::var(key).ok());
    let config = std::fs::read_to_string("config.json").ok();
    let address = address(args, &boot, &socket::group(config.as_deref(), &args.id));
    let path = socket::path(&address);
    // containerd 1.7 looks here for the shims of before its restart. Before there is a socket: `delete` takes
    // it away when we are killed and leave one.
    write_atomically(Path::new("address"), &address)
        .map_err(|e| format!("cannot write the file address into the bundle: {e}"))?;
    let found = socket::bind_or_find(&path)
        .map_err(|e| format!("cannot listen on {}: {e}", path.display()))?;
    let Found::Bound(listener) = found else { return say(&boot, &address) };
    let (heard, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|e| format!("cannot make a pipe: {e}"))?;
    match fork().map_err(|e| e.sentence())? {
        Fork::Parent { child } => {
            drop(heard);
            // Less dear to the kernel than containerd; where that is not allowed, it is no worse.
            let group = shim_cgroup(&boot);
            if containerd_shim::cgroup::set_cgroup_and_oom_score(child, &group).is_err() {
                let _ = containerd_shim::cgroup::adjust_oom_score(child);
            }
            say(&boot, &address)?;
            rustix::io::write(&tell, b"!").map(drop).map_err(|e| format!("the shim is gone: {e}"))
        }
        Fork::Child => {
            drop(tell);
            detach()?;
            if !was_answered(&heard) {
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
            daemon::run(Daemon {
                namespace: args.namespace.clone(),
                listener,
                socket: path,
                ttrpc_address: boot.ttrpc_address,
                grpc_address: boot.grpc_address,
                debug: boot.debug,
                options: boot.options,
            })
        }
    }
}

fn address(args: &Args, boot: &Bootstrap, group: &str) -> String {
    let opts = StartOpts {
        address: boot.grpc_address.clone(),
        namespace: args.namespace.clone(),
        socket_dir: boot.socket_dir.clone(),
        ..StartOpts::default()
    };
    opts.socket_address(group)
}

/// What is wrong with the options, creating the container says.
fn shim_cgroup(boot: &Bootstrap) -> String {
    let options = options::of(boot.options.as_ref());
    options.map(|options| options.runc.shim_cgroup).unwrap_or_default()
}

fn say(boot: &Bootstrap, address: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&bootstrap::answer(boot.dialect, address))
        .and_then(|()| stdout.flush())
        .map_err(|e| format!("cannot answer containerd: {e}"))
}

/// Whether containerd knows of us. It kills a `start` whose caller has given up (`exec.CommandContext` in
/// `core/runtime/v2/binary.go`), and asks nobody to clean up: a shim that nobody knows would stay for ever.
fn was_answered(heard: &OwnedFd) -> bool {
    matches!(rustix::io::retry_on_intr(|| rustix::io::read(heard, &mut [0; 1])), Ok(1))
}

/// Leaves the session, the folder and the streams of containerd.
fn detach() -> Result<(), String> {
    let told = |e: rustix::io::Errno| format!("cannot become a shim: {e}");
    rustix::process::setsid().map_err(told)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(told)?;
    rustix::stdio::dup2_stdin(&null).map_err(told)?;
    rustix::stdio::dup2_stdout(&null).map_err(told)?;
    rustix::stdio::dup2_stderr(&null).map_err(told)
}

pub(crate) fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}
