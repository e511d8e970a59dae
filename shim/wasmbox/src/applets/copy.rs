//! `cp`, `mv`, `install`.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::Path;

use super::files::{make_all, symlink};
use super::paths::inside;
use super::remove::remove_all;
use super::tree::{child, names};
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;

pub(super) fn cp(call: &Call<'_>) -> Outcome {
    let long = [
        ("recursive", 'r'),
        ("archive", 'a'),
        ("force", 'f'),
        ("no-target-directory", 'T'),
        ("target-directory", 't'),
        ("verbose", 'v'),
    ];
    let options = Options::parse(call.args, "rRafpdPLHinTt:vu", &long)?;
    let how = How {
        recursive: "rRa".chars().any(|letter| options.has(letter)),
        links: match options.last_of("adPLH") {
            Some('L' | 'H') => false,
            Some(_) => true,
            None => options.has('r') || options.has('R'),
        },
        times: options.has('p') || options.has('a'),
        force: options.has('f'),
        keep: options.has('n'),
        newer: options.has('u'),
    };
    let (sources, place, is_folder) = split(call, &options)?;
    let mut status = 0;
    for source in &sources {
        let target = if is_folder { inside(&place, source) } else { place.clone() };
        match fs::metadata(source) {
            Ok(file) if file.is_dir() && !how.recursive => {
                status = call.complain(format!("omitting directory '{source}'"));
                continue;
            }
            _ => {}
        }
        let within = super::join(&super::directory(), &target)
            .starts_with(&format!("{}/", super::join(&super::directory(), source)));
        if within && fs::symlink_metadata(source).is_ok_and(|file| file.is_dir()) {
            status = call.complain(format!("can't copy '{source}' into itself, '{target}'"));
            continue;
        }
        if let Err((path, error)) = copy(source, &target, how) {
            status = call.complain(format!("can't copy '{path}': {}", sentence(&error)));
        } else if options.has('v') {
            writeln!(call.out(), "'{source}' -> '{target}'")?;
        }
    }
    Ok(status)
}

/// Sources, and where they go; whether that is a folder.
fn split(call: &Call<'_>, options: &Options) -> Result<(Vec<String>, String, bool), Failure> {
    let mut sources = options.operands.clone();
    if let Some(folder) = options.value('t') {
        return Ok((sources, folder.to_string(), true));
    }
    let Some(place) = sources.pop().filter(|_| !sources.is_empty()) else {
        return Err(call.usage("SOURCE... DESTINATION"));
    };
    let is_folder = Path::new(&place).is_dir() && !options.has('T');
    if sources.len() > 1 && !is_folder {
        return Err(Failure::new(format!("{place}: Not a directory")));
    }
    if place.ends_with('/')
        && !is_folder
        && !sources.iter().all(|source| Path::new(source).is_dir())
    {
        return Err(Failure::new(format!("{place}: No such directory")));
    }
    Ok((sources, place, is_folder))
}

#[derive(Clone, Copy)]
struct How {
    recursive: bool,
    /// Links are copied, not what they lead to.
    links: bool,
    times: bool,
    force: bool,
    /// What is there stays.
    keep: bool,
    /// What is there and not older stays.
    newer: bool,
}

fn copy(from: &str, to: &str, how: How) -> Result<(), (String, io::Error)> {
    let at = |path: &str| {
        let path = path.to_string();
        move |error| (path, error)
    };
    let kept = fs::symlink_metadata(from).map_err(at(from))?;
    let file =
        if kept.is_symlink() && !how.links { fs::metadata(from).map_err(at(from))? } else { kept };
    if file.is_dir() {
        make_all(Path::new(to)).map_err(at(to))?;
        for name in names(from).map_err(at(from))? {
            copy(&child(from, &name), &child(to, &name), how)?;
        }
        return Ok(());
    }
    if let Ok(there) = fs::metadata(to) {
        let older = || file.modified().ok() > there.modified().ok();
        if how.keep || how.newer && !older() {
            return Ok(());
        }
        if is_same(from, to) {
            return Err((
                from.to_string(),
                io::Error::other(format!("it and '{to}' are the same file")),
            ));
        }
    }
    if file.is_symlink() {
        let target = fs::read_link(from).map_err(at(from))?;
        let _ = fs::remove_file(to);
        return symlink(&target.to_string_lossy(), to).map_err(at(to));
    }
    let mut source = File::open(from).map_err(at(from))?;
    let opened = File::create(to).or_else(|error| {
        if !how.force {
            return Err(error);
        }
        fs::remove_file(to)?;
        File::create(to)
    });
    let mut target = opened.map_err(at(to))?;
    pour(&mut source, &mut target).map_err(at(to))?;
    if how.times {
        let times =
            file.modified().map(|time| FileTimes::new().set_modified(time).set_accessed(time));
        let _ = times.and_then(|times| target.set_times(times));
    }
    Ok(())
}

/// `io::copy` goes by 8 KB, and each piece is a call of the host.
pub(super) fn pour(from: &mut dyn io::Read, to: &mut dyn io::Write) -> io::Result<()> {
    let mut buffer = vec![0; crate::streams::CHUNK];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

fn is_same(left: &str, right: &str) -> bool {
    match (rustix::fs::stat(left), rustix::fs::stat(right)) {
        (Ok(left), Ok(right)) => (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino),
        _ => false,
    }
}

pub(super) fn mv(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "finTt:v",
        &[("force", 'f'), ("verbose", 'v'), ("no-target-directory", 'T')],
    )?;
    let (sources, place, is_folder) = split(call, &options)?;
    let mut status = 0;
    for source in &sources {
        let target = if is_folder { inside(&place, source) } else { place.clone() };
        if options.has('n') && Path::new(&target).exists() {
            continue;
        }
        match fs::rename(source, &target) {
            Ok(()) => {}
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || fs::symlink_metadata(source).is_err() =>
            {
                status = call.complain(format!("can't rename '{source}': {}", sentence(&error)));
                continue;
            }
            Err(error) if crosses_volumes(&error) => {
                let how = How {
                    recursive: true,
                    links: true,
                    times: true,
                    force: true,
                    keep: false,
                    newer: false,
                };
                if let Err((path, error)) = copy(source, &target, how) {
                    status = call.complain(format!("can't move '{path}': {}", sentence(&error)));
                    continue;
                }
                remove_all(source).map_err(|error| Failure::of(source, &error))?;
            }
            Err(error) => {
                status = call.complain(format!("can't rename '{source}': {}", sentence(&error)));
                continue;
            }
        }
        if options.has('v') {
            writeln!(call.out(), "'{source}' -> '{target}'")?;
        }
    }
    Ok(status)
}

/// Between two volumes a file can only be copied. wasmtime-wasi 48 has no word for EXDEV, and says EIO; whatever else
/// that is, the copy meets it again.
fn crosses_volumes(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::CrossesDevices
        || cfg!(target_os = "wasi")
            && error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

pub(super) fn install(call: &Call<'_>) -> Outcome {
    // Modes and owners are taken and come to nothing, as WASI has none.
    let options = Options::parse(call.args, "dDcpm:o:g:t:s", &[("directory", 'd')])?;
    if options.has('d') {
        for name in &options.operands {
            make_all(Path::new(name)).map_err(|error| Failure::of(name, &error))?;
        }
        return Ok(0);
    }
    if options.has('D')
        && let Some(parent) = options.operands.last().and_then(|place| Path::new(place).parent())
    {
        make_all(parent)?;
    }
    let (sources, place, is_folder) = split(call, &options)?;
    let how = How {
        recursive: false,
        links: false,
        times: options.has('p'),
        force: true,
        keep: false,
        newer: false,
    };
    for source in &sources {
        let target = if is_folder { inside(&place, source) } else { place.clone() };
        copy(source, &target, how).map_err(|(path, error)| Failure::of(&path, &error))?;
    }
    Ok(0)
}
