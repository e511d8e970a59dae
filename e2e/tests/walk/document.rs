//! Blocks of a document, and the places where they are run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wherry_e2e::cluster::Cluster;
use wherry_e2e::cluster::node::Node;
use wherry_e2e::command::{self, Output};

/// A rollout starts pods on a machine that does other things, too.
const LIMIT: Duration = Duration::from_secs(180);

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines between fences, and the words behind the first fence that say where they are run: `sh node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) place: String,
    pub(crate) script: String,
}

/// The blocks of a document that are run, below the heading that begins with these words until the next of its kind.
pub(crate) fn blocks(document: &str, heading: &str) -> Result<Vec<Block>> {
    let text = fs::read_to_string(root().join(document)).with_context(|| document.to_string())?;
    let section =
        section(&text, heading).with_context(|| format!("{document} has no {heading:?}"))?;
    let found = fenced(section);
    ensure!(!found.is_empty(), "{document}: nothing is run below {heading:?}");
    Ok(found)
}

fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let level = heading.split(' ').next()?;
    let start = text.find(&format!("\n{heading}"))? + 1;
    let rest = &text[start + heading.len()..];
    let end = rest.find(&format!("\n{level} ")).unwrap_or(rest.len());
    Some(&rest[..end])
}

fn fenced(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let script: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some(place) = info.strip_prefix("sh ") {
            found.push(Block { place: place.to_string(), script: script.join("\n") });
        }
    }
    found
}

/// Runs a block on a node, as root; what it says if all is well.
pub(crate) fn on_node(node: &Node, block: &Block) -> Result<String> {
    // The document's readers have read what a failing line says.
    node.ask(&["sh", "-ec", &block.script])
}

/// Where the reader of a document is at home.
pub(crate) fn home(cluster: &Cluster) -> PathBuf {
    cluster.place.path("reader")
}

/// Runs a block in a folder where `kubectl` and other programs of the reader are, with the cluster's network.
pub(crate) fn at_cluster(cluster: &Cluster, folder: &Path, script: &str) -> Result<String> {
    let programs = cluster.place.path("programs");
    let kubectl = cluster.client(&[])?;
    // Behind the words that lead into the cluster's network, where the block is anyway.
    let words = kubectl.get_args().skip_while(|word| *word != "--").skip(1);
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let env =
        kubectl.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    let env: Vec<String> = env.map(|(name, value)| format!("{name}='{value}'")).collect();
    let kubectl = format!("{} exec {} \"$@\"", env.join(" "), words.join(" "));
    program(&programs, "kubectl", &kubectl)?;
    let folder = folder.canonicalize()?;
    let script = format!("cd {} && PATH={}:$PATH\n{script}", folder.display(), programs.display());
    let mut command = cluster.place.command("sh");
    command.env("HOME", home(cluster)).args(["-ec", &script]);
    let said: Output = command::run(&mut command, b"", LIMIT)?.ok().with_context(|| script)?;
    Ok(said.stdout.trim_end().to_string())
}

/// A program of a reader.
pub(crate) fn program(folder: &Path, name: &str, script: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    // Written beside and renamed: another block may run the one that is there.
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(new, path)?)
}
