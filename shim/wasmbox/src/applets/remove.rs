//! `rm`, `rmdir`, `unlink`.

use std::fs;
use std::io;

use super::tree::{child, is_folder, names};
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;

pub(super) fn rm(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "frRivd",
        &[("force", 'f'), ("recursive", 'r'), ("verbose", 'v')],
    )?;
    let force = options.has('f');
    if options.operands.is_empty() {
        return if force { Ok(0) } else { Err(call.usage("[-rf] FILE...")) };
    }
    let recursive = options.has('r') || options.has('R');
    let mut status = 0;
    for name in &options.operands {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if last == "." || last == ".." {
            status = call.complain(format!("can't remove '{name}': it is here or above"));
            continue;
        }
        if is_folder(name) && !recursive && !options.has('d') {
            status = call.complain(format!("'{name}' is a directory"));
            continue;
        }
        match remove(name, recursive) {
            Ok(()) if options.has('v') => writeln!(call.out(), "removed '{name}'")?,
            Ok(()) => {}
            Err((_, error)) if force && error.kind() == io::ErrorKind::NotFound => {}
            Err((path, error)) => {
                status = call.complain(format!("can't remove '{path}': {}", sentence(&error)))
            }
        }
    }
    Ok(status)
}

/// Goes on after an error, and answers the first.
fn remove(path: &str, recursive: bool) -> Result<(), (String, io::Error)> {
    let with_path = |error| (path.to_string(), error);
    if !is_folder(path) {
        return fs::remove_file(path).map_err(with_path);
    }
    let mut first = Ok(());
    if recursive {
        for name in names(path).map_err(with_path)? {
            first = first.and(remove(&child(path, &name), recursive));
        }
    }
    first.and_then(|()| fs::remove_dir(path).map_err(with_path))
}

/// Removes whatever it is.
pub(super) fn remove_all(path: &str) -> io::Result<()> {
    remove(path, true).map_err(|(_, error)| error)
}

pub(super) fn rmdir(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "p", &[("parents", 'p')])?;
    let mut status = 0;
    for name in &options.operands {
        let mut path = name.trim_end_matches('/');
        loop {
            if let Err(error) = fs::remove_dir(path) {
                status = call.complain(format!("'{path}': {}", sentence(&error)));
                break;
            }
            match path.rsplit_once('/') {
                Some((parent, _)) if options.has('p') && !parent.is_empty() => path = parent,
                _ => break,
            }
        }
    }
    Ok(status)
}

pub(super) fn unlink(call: &Call<'_>) -> Outcome {
    let name = super::paths::only(call, call.args, "FILE")?;
    fs::remove_file(name).map_err(|error| Failure::of(name, &error))?;
    Ok(0)
}
