//! `wherry-fleet`, which people call `wherry fleet` or `kubectl wherry`: how far Wherry is on the nodes of a cluster,
//! and a hand on its rollout.
//!
//! It is a client of the API and nothing else. What is read becomes a [`cluster::Cluster`]; what is told of it
//! ([`view`], [`diff`], [`text`]) and what may be changed ([`change`]) follows from that alone.

mod api;
mod args;
mod change;
mod cluster;
mod diff;
mod live;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde::Serialize;
use wherry_operator_core::crd::WasmShim;
use wherry_operator_core::in_words;

use api::Api;
use args::{Command, Form, Status, Verb, Words};
use cluster::Cluster;
use text::Manner;
use view::Verdict;

/// Differences, or a rollout that goes on.
const NOT_YET: u8 = 3;
/// A rollout failed somewhere.
const BAD: u8 = 4;

fn main() -> ExitCode {
    let called = called(std::env::args_os().next());
    let words = match args::parse(lexopt::Parser::from_env()) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("{called}: {error}\nTry `{called} help`.");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("no runtime").and_then(|it| it.block_on(run(words, &called)));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{called}: {}", in_words(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// As it was called: kubectl runs a file named `kubectl-wherry` for `kubectl wherry`.
fn called(program: Option<OsString>) -> String {
    let program = program.unwrap_or_default();
    let plugin = Path::new(&program).file_name().is_some_and(|name| name == "kubectl-wherry");
    if plugin { "kubectl wherry".into() } else { "wherry fleet".into() }
}

async fn run(words: Words, called: &str) -> Result<u8> {
    let (command, context) = (words.command, words.context);
    let api = match &command {
        Command::Help => {
            print(&args::HELP.replace("wherry fleet", called))?;
            return Ok(0);
        }
        Command::Version => {
            print(concat!("wherry-fleet ", env!("CARGO_PKG_VERSION"), "\n"))?;
            return Ok(0);
        }
        _ => Api::connect(context, words.kubeconfig.as_deref()).await?,
    };
    match command {
        Command::Help | Command::Version => Ok(0),
        Command::Status(what) if what.watch => watch(api, &what, called).await,
        Command::Status(what) => status(&api, &what, called).await,
        Command::Diff { shim, all, form } => {
            let cluster = read(&api, shim.as_deref()).await?;
            let diffs = diff::diffs(&cluster, shim.as_deref());
            print(&match form {
                Form::Text => diff::text(&diffs, all),
                Form::Json => json(&diffs)?,
            })?;
            Ok(if diff::none(&diffs) { 0 } else { NOT_YET })
        }
        Command::Change { verb, shim, dry_run } => change(&api, &verb, shim, dry_run).await,
    }
}

/// All that there is, and a word if one was named that there is not.
async fn read(api: &Api, shim: Option<&str>) -> Result<Cluster> {
    let cluster = api.read(shim).await?;
    if cluster.machines.is_none() {
        eprintln!("you may not list nodes: those on which nothing was done yet are not told");
    }
    if let Some(shim) = shim.filter(|_| cluster.shims.is_empty()) {
        bail!("there is no WasmShim {shim}");
    }
    Ok(cluster)
}

async fn status(api: &Api, what: &Status, called: &str) -> Result<u8> {
    let cluster = read(api, what.shim.as_deref()).await?;
    let shims = view::shims(&cluster, what.shim.as_deref());
    let manner = manner(what, called);
    print(&match what.form {
        Form::Text => text::status(&shims, &manner, Timestamp::now()),
        Form::Json => json(&shims)?,
    })?;
    Ok(code(text::verdict(&shims)))
}

async fn watch(api: Api, what: &Status, called: &str) -> Result<u8> {
    if let Some(shim) = &what.shim {
        api.shim(shim).await?;
    }
    let screen = match what.form {
        Form::Json => live::Screen::Json,
        Form::Text if std::io::stdout().is_terminal() => live::Screen::Terminal,
        Form::Text => live::Screen::Log,
    };
    let verdict = live::follow(api, what, manner(what, called), screen).await?;
    Ok(code(verdict))
}

fn manner(what: &Status, called: &str) -> Manner {
    Manner { called: called.into(), all: what.all, width: live::size().map(|size| size.0) }
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Well => 0,
        Verdict::UnderWay => NOT_YET,
        Verdict::Bad => BAD,
    }
}

async fn change(api: &Api, verb: &Verb, shim: Option<String>, dry_run: bool) -> Result<u8> {
    let shim = match shim {
        Some(name) => api.shim(&name).await?,
        None => the_one(api.shims().await?)?,
    };
    let revisions = match verb {
        Verb::Rollback => api.revisions(Some(view::name(&shim))).await?,
        Verb::Pause | Verb::Resume | Verb::Approve { .. } | Verb::Retry => Vec::new(),
    };
    let cluster = Cluster { revisions, ..Cluster::default() };
    let change = change::decide(verb, &shim, &cluster, Timestamp::now())?;
    if let Some(patch) = &change.patch {
        api.patch(view::name(&shim), patch, dry_run).await?;
    }
    let tried = if dry_run && change.patch.is_some() { " (tried, and not written)" } else { "" };
    print(&format!("{}{tried}\n", change.says))?;
    Ok(0)
}

/// What is meant by none being named.
fn the_one(mut all: Vec<WasmShim>) -> Result<WasmShim> {
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => bail!("there is no WasmShim"),
        (Some(last), _) => {
            let names: Vec<&str> = all.iter().chain([&last]).map(view::name).collect();
            bail!("there are several, so name one: {}", names.join(", "))
        }
    }
}

fn json(what: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(what)? + "\n")
}

/// A reader that has gone away, as `head` does, is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
