//! containerd-shim-wherry-v1: what containerd calls to run a pod's Wasm containers.
//!
//! A table of contents. containerd runs this program with an action:
//! - `start` makes the pod's shim, or finds it, and answers where it listens ([`protocol::start`]).
//!   The shim itself is a fork of that process ([`daemon`]).
//! - `delete` cleans up after one container, whether or not its shim is alive ([`protocol::delete`]).
//! - `-info` and `-v` tell what this is ([`protocol::info`]).
//!
//! The shim runs it by another name as the process of a pod's sandbox ([`pause`]).

mod args;
mod body;
mod code;
mod create;
mod daemon;
mod decide;
mod effects;
mod events;
mod exec;
mod installed;
mod introduction;
mod jobs;
mod lifeline;
mod limited;
mod logging;
mod metrics;
mod native;
mod options;
mod pause;
mod pod;
mod program;
mod protocol;
mod reaper;
mod state_file;
mod stdio;
mod turn;
mod undo;

use std::process::ExitCode;

use args::Action;

fn main() -> ExitCode {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name.as_encoded_bytes() == pause::NAME.to_bytes())
    {
        return pause::run();
    }
    let args = args::parse(std::env::args_os().skip(1));
    let done = match args.action {
        Action::Start => protocol::start::run(&args),
        Action::Delete => protocol::delete::run(&args),
        Action::Info => protocol::info::run(),
        Action::Version => protocol::info::version(&args),
        Action::Unknown(ref word) => Err(format!(
            "there is no action {word:?}: containerd calls this program with start or delete"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // containerd puts both streams of a failed action into its error.
        Err(why) => {
            eprintln!("{}: {why}", args::PROGRAM);
            ExitCode::FAILURE
        }
    }
}
