//! Our own programs: where containerd finds the shim, and what lies beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{look_up, run};
use crate::doctor::containerd::Handler;
use crate::doctor::facts::{Installed, Program};
use crate::node::shim::PROGRAM;

pub(super) fn installed(
    handlers: &[(String, Handler)],
    path: &[PathBuf],
) -> BTreeMap<String, Installed> {
    let by_name = || look_up(PROGRAM, path);
    if handlers.is_empty() {
        return BTreeMap::from([(String::new(), look(by_name()))]);
    }
    let found = handlers.iter().map(|(name, handler)| {
        let shim = match &handler.runtime_path {
            Some(file) => look_up(&file.to_string_lossy(), path),
            None => by_name(),
        };
        (name.clone(), look(shim))
    });
    found.collect()
}

fn look(shim: Option<PathBuf>) -> Installed {
    let programs = shim.iter().flat_map(|shim| {
        // A link leads to where the others are: the shim looks beside what it really is.
        let real = std::fs::canonicalize(shim).unwrap_or_else(|_| shim.clone());
        let beside = |name: &str| real.with_file_name(name);
        [
            (PROGRAM, shim_version(shim)),
            ("wherry-guest", written_version(&beside("wherry-guest"), "wherry-", "+wasmtime-")),
            ("wherry", told_version(&beside("wherry"), &["--version"])),
            ("wasmbox.wasm", written_version(&beside("wasmbox.wasm"), "wasmbox ", ": a shell")),
        ]
    });
    let programs = programs.map(|(name, program)| (name.to_owned(), program)).collect();
    Installed { shim, programs }
}

/// containerd asks it for more than a version when it starts, and waits.
fn shim_version(shim: &Path) -> Program {
    match told_version(shim, &["-info"]) {
        Program::Unusable(why) => Program::Unusable(why),
        _ => told_version(shim, &["-v"]),
    }
}

/// What the program says of itself: the last word, for all of them.
fn told_version(file: &Path, words: &[&str]) -> Program {
    if !file.exists() {
        return Program::Missing;
    }
    match run(Command::new(file).args(words)) {
        Err(why) => Program::Unusable(why),
        Ok(output) if !output.status.success() => {
            let told = String::from_utf8_lossy(&output.stderr);
            Program::Unusable(format!("it ends with {}: {}", output.status, told.trim()))
        }
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout);
            Program::Version(told.split_whitespace().last().unwrap_or("?").to_owned())
        }
    }
}

/// Of those that are not for people to run: as it is written in them, between these words.
fn written_version(file: &Path, before: &str, after: &str) -> Program {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Program::Missing,
        Err(error) => return Program::Unusable(error.to_string()),
    };
    match between(&bytes, before.as_bytes(), after.as_bytes()) {
        Some(version) => Program::Version(version),
        None => Program::Unusable("it tells no version: it is not the program of that name".into()),
    }
}

/// Longer than any version.
const LONGEST: usize = 64;

fn between(bytes: &[u8], before: &[u8], after: &[u8]) -> Option<String> {
    let ends = bytes.windows(after.len()).enumerate().filter(|(_, window)| *window == after);
    ends.map(|(end, _)| &bytes[end.saturating_sub(LONGEST)..end]).find_map(|window| {
        let at = window.windows(before.len()).rposition(|w| w == before)?;
        let version = std::str::from_utf8(&window[at + before.len()..]).ok()?;
        version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_between_words() {
        let found = |text: &str| between(text.as_bytes(), b"wherry-", b"+wasmtime-");
        assert_eq!(found("\0xwherry-0.1.0+wasmtime-48").as_deref(), Some("0.1.0"));
        assert_eq!(
            found("+wasmtime- wherry-guest wherry-1.2.3-rc.1+wasmtime-").as_deref(),
            Some("1.2.3-rc.1")
        );
        assert_eq!(found("wherry-guest+wasmtime-"), None);
        assert_eq!(found("wherry-0.1.0"), None);
    }
}
