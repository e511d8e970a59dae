//! `wherry cache`: the node's compiled code, for people.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use wherry_cache::{Digest, FillError, Listed};
use wherry_core::plan::Profile;

use crate::args::{Action, Cache};
use crate::{compile, print};

pub(crate) fn run(what: &Cache) -> anyhow::Result<()> {
    let only_looks = matches!(what.action, Action::List | Action::Verify | Action::Prune);
    if only_looks && !what.dir.exists() {
        bail!("there is no cache at {}", what.dir.display());
    }
    let cache = wherry_cache::Cache::open(&what.dir, what.max_bytes)?;
    match &what.action {
        Action::List => list(&cache.list()?, what.json),
        Action::Verify => verify(&cache, what.json),
        Action::Prune => {
            let pruned = cache.prune(Some(&compile::engine_id()?))?;
            if what.json {
                return print(&format!(
                    "{}\n",
                    json!({ "entries": pruned.entries, "bytes": pruned.bytes })
                ));
            }
            print(&format!("removed {} entries, {}\n", pruned.entries, size(pruned.bytes)))
        }
        Action::Warm(files) => {
            let engine = compile::engine_id()?;
            let mut failed = 0;
            for file in files {
                match warm(&cache, &engine, file) {
                    Ok(told) if what.json => print(&format!("{told}\n"))?,
                    Ok(told) => print(&format!(
                        "{}  {}\n",
                        told["digest"].as_str().unwrap_or(""),
                        file.display()
                    ))?,
                    Err(error) => {
                        eprintln!("wherry: {}: {error:#}", file.display());
                        failed += 1;
                    }
                }
            }
            match failed {
                0 => Ok(()),
                n => Err(anyhow!("{n} of {} files were not compiled", files.len())),
            }
        }
    }
}

fn list(entries: &[Listed], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let entries: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!({
                    "engine": entry.engine,
                    "digest": format!("sha256:{}", entry.digest),
                    "profile": entry.profile,
                    "bytes": entry.bytes,
                    "used": seconds(entry.used),
                })
            })
            .collect();
        return print(&format!("{}\n", Value::from(entries)));
    }
    let mut text =
        format!("{:<34}{:<16}{:<10}{:>10}  LAST USE\n", "ENGINE", "PROGRAM", "PROFILE", "CODE");
    for entry in entries {
        let profile = match entry.profile {
            Profile::Command => "command",
            Profile::Service => "service",
        };
        let program = entry.digest.as_str().get(..12).unwrap_or_default();
        let hours =
            SystemTime::now().duration_since(entry.used).unwrap_or_default().as_secs() / 3600;
        let used = match hours {
            0 => "within the hour".to_owned(),
            1 => "1 hour ago".to_owned(),
            hours => format!("{hours} hours ago"),
        };
        let bytes = size(entry.bytes);
        writeln!(text, "{:<34}{program:<16}{profile:<10}{bytes:>10}  {used}", entry.engine)?;
    }
    print(&text)
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn verify(cache: &wherry_cache::Cache, as_json: bool) -> anyhow::Result<()> {
    let verified = cache.verify()?;
    if as_json {
        let unsound: Vec<_> = verified
            .unsound
            .iter()
            .map(|(engine, digest)| json!({ "engine": engine, "digest": format!("sha256:{digest}") }))
            .collect();
        return print(&format!("{}\n", json!({ "sound": verified.sound, "removed": unsound })));
    }
    for (engine, digest) in &verified.unsound {
        print(&format!("removed {engine}/{digest}: it did not match its hash\n"))?;
    }
    print(&format!("{} sound, {} removed\n", verified.sound, verified.unsound.len()))
}

/// What the shim does on a miss: this program once more, in its jail, between two files.
fn warm(cache: &wherry_cache::Cache, engine: &str, path: &Path) -> anyhow::Result<Value> {
    let file = File::open(path)?;
    let digest = Digest::of_file(&file)?;
    let filled = cache.fill(engine, &digest, |out| compile_into(&file, out));
    let entry = match filled {
        Ok(entry) => entry,
        Err(FillError::Cache(error)) => return Err(error.into()),
        Err(FillError::Compile(error)) => return Err(error),
    };
    Ok(json!({
        "file": path, "digest": format!("sha256:{digest}"), "profile": entry.profile, "bytes": entry.bytes,
    }))
}

fn compile_into(program: &File, out: &File) -> anyhow::Result<Profile> {
    let compiler = Command::new("/proc/self/exe")
        .arg("compile")
        .env_clear()
        .stdin(program.try_clone()?)
        .stdout(out.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .context("can't start the compiler")?;
    let told: Value = match serde_json::from_slice(&compiler.stderr) {
        Ok(told) => told,
        Err(_) => bail!(
            "the compiler ended with {}: {}",
            compiler.status,
            String::from_utf8_lossy(&compiler.stderr).trim()
        ),
    };
    match told.get("error").and_then(Value::as_str) {
        Some(error) => Err(io::Error::other(error.to_owned()).into()),
        None => {
            serde_json::from_value(told["profile"].clone()).context("the compiler told no profile")
        }
    }
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
