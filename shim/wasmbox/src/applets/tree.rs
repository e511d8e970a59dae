//! Trees of files, and `du`.

use std::fs::{self, Metadata};

use crate::call::{Call, Outcome};
use crate::options::Options;

/// The names in a folder, sorted.
pub(super) fn names(folder: &str) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

pub(super) fn child(folder: &str, name: &str) -> String {
    if folder.ends_with('/') { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

/// All files below, which are no folders and no links.
pub(super) fn files(root: &str, to: &mut Vec<String>) {
    match fs::symlink_metadata(root) {
        Ok(file) if file.is_dir() => {
            for name in names(root).unwrap_or_default() {
                files(&child(root, &name), to);
            }
        }
        Ok(file) if file.is_symlink() => {}
        _ => to.push(root.to_string()),
    }
}

/// Whether it is a folder, and no link to one.
pub(super) fn is_folder(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_dir())
}

/// WASI tells no blocks, so a file takes what its length needs.
fn kib(file: &Metadata) -> u64 {
    if file.is_dir() { 4 } else { file.len().div_ceil(4096) * 4 }
}

pub(super) fn du(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "skhmacd:xL",
        &[("summarize", 's'), ("human-readable", 'h'), ("max-depth", 'd')],
    )?;
    let roots =
        if options.operands.is_empty() { vec![".".to_string()] } else { options.operands.clone() };
    let deepest = if options.has('s') { 0 } else { options.number('d')?.unwrap_or(u32::MAX) };
    let mut status = 0;
    let mut total = 0;
    for root in &roots {
        if let Err(error) = fs::symlink_metadata(root) {
            status = call.complain_of(root, &error);
            continue;
        }
        total += sum(call, &options, root, 0, deepest)?;
    }
    if options.has('c') {
        show(call, &options, total, "total")?;
    }
    Ok(status)
}

fn sum(
    call: &Call<'_>,
    options: &Options,
    path: &str,
    depth: u32,
    deepest: u32,
) -> Result<u64, crate::call::Failure> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(0) };
    let mut total = kib(&file);
    if file.is_dir() {
        for name in names(path).unwrap_or_default() {
            total += sum(call, options, &child(path, &name), depth + 1, deepest)?;
        }
    }
    if depth == 0 || depth <= deepest && (file.is_dir() || options.has('a')) {
        show(call, options, total, path)?;
    }
    Ok(total)
}

fn show(
    call: &Call<'_>,
    options: &Options,
    kib: u64,
    name: &str,
) -> Result<(), crate::call::Failure> {
    let text = match options.last_of("khm") {
        Some('h') => super::ls::human(kib * 1024),
        Some('m') => kib.div_ceil(1024).to_string(),
        _ => kib.to_string(),
    };
    Ok(writeln!(call.out(), "{text}\t{name}")?)
}
