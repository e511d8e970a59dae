//! Whether the node's own containerd takes a configuration, before it has to.
//!
//! Two questions, since each answers what the other does not: `config dump` tells what the files come to, and finds
//! what is no TOML or no setting; a daemon that is started on them, in a folder of its own, finds what only the CRI
//! plugin minds, as a default handler that is none. A daemon whose CRI plugin did not load says that it has started
//! like any other, so this one is told that it is required.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wherry_containerd::{Difference, Effective, Plan};
use wherry_report::Handler;

use crate::loaded::Loaded;
use crate::look::{Look, dump};
use crate::systemd::Systemd;
use crate::{durable, home};

/// 0.2 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Tries the plan's files where nobody reads them, and returns what they come to. `ours` are the names of handlers
/// which may differ, and nothing else may; `wanted` are those that are to be there, as they are to be.
pub(crate) fn try_out(
    look: &Look,
    plan: &Plan,
    ours: &[String],
    wanted: &[Handler],
) -> Result<Effective> {
    let folder = Path::new(home::TRANSACTION).join("trial");
    durable::remove_tree(&folder)?;
    durable::folders(&folder)?;
    let tried = in_folder(look, plan, ours, wanted, &folder);
    durable::remove_tree(&folder)?;
    tried
}

fn in_folder(
    look: &Look,
    plan: &Plan,
    ours: &[String],
    wanted: &[Handler],
    folder: &Path,
) -> Result<Effective> {
    let files = plan.in_folder(folder)?;
    for (path, text) in &files {
        durable::write(path, text.as_bytes(), 0o600)?;
    }
    let main = folder.join("00.toml");
    let after = dump(&look.program, Some(&main))?;
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let lost = look.node.effective.differences(&after, &ours);
    if !lost.is_empty() {
        bail!("{}", would_change(plan, &lost));
    }
    for handler in wanted {
        let found =
            after.cri().and_then(|cri| cri.handlers.get(&handler.name).map(Loaded::of_file));
        match found {
            None => bail!("containerd would pass over the handler {}", handler.name),
            Some(found) if !found.is(handler) => bail!(
                "containerd would not take the handler {} from our file: {}; another of its files says so",
                handler.name,
                found.instead_of(handler)
            ),
            Some(_) => {}
        }
    }
    if after.cri().is_none() {
        bail!("the CRI plugin would be disabled");
    }
    shadow(&look.program, &after, folder)?;
    Ok(after)
}

/// What there is to say of settings that are not ours.
fn would_change(plan: &Plan, lost: &[Difference]) -> String {
    const TOLD: usize = 5;
    let files = plan.changes.iter().map(|change| change.path.display().to_string());
    let files = files.collect::<Vec<_>>().join(" and ");
    let mut all: Vec<String> = lost.iter().take(TOLD).map(Difference::to_string).collect();
    if lost.len() > TOLD {
        all.push(format!("and {} more", lost.len() - TOLD));
    }
    format!(
        "settings of others would change by {files}, and nothing was written: {}. Another of containerd's files has \
         them: have them in one file with what it imports, or set the handler up by hand",
        all.join("; ")
    )
}

/// Starts the daemon, and ends it when it listens.
fn shadow(program: &Path, after: &Effective, folder: &Path) -> Result<()> {
    let file = folder.join("shadow.toml");
    durable::write(&file, after.shadow(folder).as_bytes(), 0o600)?;
    let log = folder.join("log");
    let mut words = vec![program.display().to_string()];
    // Flags win over files, and from 2.3 on some are read that nobody names.
    for (flag, name) in [("--root", "root"), ("--state", "state"), ("--address", "s")] {
        words.extend([flag.to_owned(), folder.join(name).display().to_string()]);
    }
    words.extend(["--config".to_owned(), file.display().to_string()]);
    let mut daemon = Shadow::start(&words, &log)?;
    let started = started(&mut daemon, &folder.join("s"));
    daemon.end()?;
    started.with_context(|| {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let fatal = |line: &&str| line.contains("level=fatal") || line.starts_with("containerd:");
        let why = said.lines().rev().find(fatal).or_else(|| said.lines().next_back());
        format!(
            "containerd does not start on the new configuration: {}",
            why.unwrap_or("it says nothing")
        )
    })
}

/// A daemon beside the one that runs.
enum Shadow {
    /// A service of the node's: the agent's own pod may not mount, and a containerd that can't mount has no
    /// snapshotter, and thereby no CRI.
    Unit(Systemd),
    /// Ours, where there is no systemd.
    Child(Child),
}

impl Shadow {
    fn start(words: &[String], log: &Path) -> Result<Shadow> {
        if let Ok(systemd) = Systemd::connect() {
            systemd.try_out(words, log, 2 * PATIENCE)?;
            return Ok(Shadow::Unit(systemd));
        }
        let written = File::create(log)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(written.try_clone()?).stderr(written);
        // Whoever waits for us to be ready is to think nothing of it.
        command.env_remove("NOTIFY_SOCKET");
        let child = command.spawn().with_context(|| format!("{} can't be run", words[0]))?;
        Ok(Shadow::Child(child))
    }

    fn runs(&mut self) -> Result<bool> {
        Ok(match self {
            Shadow::Unit(systemd) => systemd.tries(),
            Shadow::Child(child) => child.try_wait()?.is_none(),
        })
    }

    fn end(&mut self) -> Result<()> {
        match self {
            Shadow::Unit(systemd) => systemd.end_trial(),
            // It has no containers, so nothing is lost by a kill.
            Shadow::Child(child) => {
                drop(child.kill());
                child.wait().map(drop).context("a daemon that was tried does not end")
            }
        }
    }
}

fn started(daemon: &mut Shadow, socket: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        if UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        if !daemon.runs()? {
            bail!("it ended");
        }
        if Instant::now() > end {
            bail!("it does not listen within {} s", PATIENCE.as_secs());
        }
        sleep(LOOK);
    }
}
