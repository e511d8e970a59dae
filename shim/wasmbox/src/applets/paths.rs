//! `basename`, `dirname`, `readlink`, `realpath`: names of files.

use std::path::{Path, PathBuf};

use super::{directory, join};
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;

pub(super) fn basename(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "+as:", &[])?;
    let (names, suffix) = match (&options.operands[..], options.value('s')) {
        ([], _) => return Err(call.usage("FILE [SUFFIX]")),
        (names, Some(suffix)) => (names, suffix),
        (names, None) if options.has('a') => (names, ""),
        ([name, suffix], None) => (std::slice::from_ref(name), suffix.as_str()),
        (names, None) => (&names[..1], ""),
    };
    for name in names {
        let last = last(name);
        let short = last.strip_suffix(suffix).filter(|short| !short.is_empty()).unwrap_or(last);
        writeln!(call.out(), "{short}")?;
    }
    Ok(0)
}

fn last(name: &str) -> &str {
    let trimmed = name.trim_end_matches('/');
    if trimmed.is_empty() && !name.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

pub(super) fn dirname(call: &Call<'_>) -> Outcome {
    for name in call.args {
        let trimmed = name.trim_end_matches('/');
        let parent = match trimmed.rfind('/') {
            None if trimmed.is_empty() && !name.is_empty() => "/",
            None => ".",
            Some(at) => match trimmed[..at].trim_end_matches('/') {
                "" => "/",
                parent => parent,
            },
        };
        writeln!(call.out(), "{parent}")?;
    }
    Ok(0)
}

pub(super) fn readlink(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "fnevmq", &[("canonicalize", 'f')])?;
    let mut status = 0;
    for name in &options.operands {
        let target = match options.has('f') || options.has('e') || options.has('m') {
            true => resolve(name, options.has('e')).ok(),
            false => std::fs::read_link(name).ok().map(|path| path.to_string_lossy().into_owned()),
        };
        let end = if options.has('n') { "" } else { "\n" };
        match target {
            Some(target) => write!(call.out(), "{target}{end}")?,
            None => status = 1,
        }
    }
    Ok(status)
}

pub(super) fn realpath(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "esmq", &[])?;
    let mut status = 0;
    for name in &options.operands {
        match resolve(name, options.has('e')) {
            Ok(path) => writeln!(call.out(), "{path}")?,
            Err(failure) => status = call.complain(failure),
        }
    }
    Ok(status)
}

/// The path without links; the last component may be missing, unless `all` must be there.
fn resolve(name: &str, all: bool) -> Result<String, String> {
    let mut rest: Vec<String> = absolute(name).split('/').rev().map(str::to_string).collect();
    let mut path = PathBuf::from("/");
    let mut links = 0;
    while let Some(component) = rest.pop() {
        match component.as_str() {
            "" | "." => continue,
            ".." => {
                path.pop();
                continue;
            }
            _ => path.push(&component),
        }
        match std::fs::symlink_metadata(&path) {
            Ok(file) if file.is_symlink() => {
                links += 1;
                let target = std::fs::read_link(&path)
                    .map_err(|error| format!("{name}: {}", sentence(&error)))?;
                if links > 40 {
                    return Err(format!("{name}: Too many levels of symbolic links"));
                }
                path.pop();
                if target.is_absolute() {
                    path = PathBuf::from("/");
                }
                rest.extend(target.to_string_lossy().split('/').rev().map(str::to_string));
            }
            Ok(_) => {}
            Err(error) if all || rest.iter().any(|component| !component.is_empty()) => {
                return Err(format!("{name}: {}", sentence(&error)));
            }
            Err(_) => {}
        }
    }
    Ok(path.to_string_lossy().into_owned())
}

/// With dots, which a link may give a meaning of its own.
fn absolute(name: &str) -> String {
    Path::new(&directory()).join(name).to_string_lossy().into_owned()
}

/// Where `name` goes in a folder: its last component.
pub(super) fn inside(folder: &str, name: &str) -> String {
    let last = match last(name) {
        "." | ".." | "/" | "" => {
            join(&directory(), name).rsplit('/').next().unwrap_or_default().to_string()
        }
        last => last.to_string(),
    };
    format!("{}/{last}", folder.trim_end_matches('/'))
}

/// The only operand, or what to say instead.
pub(super) fn only<'a>(
    call: &Call<'_>,
    operands: &'a [String],
    usage: &str,
) -> Result<&'a str, Failure> {
    match operands {
        [only] => Ok(only),
        _ => Err(call.usage(usage)),
    }
}
