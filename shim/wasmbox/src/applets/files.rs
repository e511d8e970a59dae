//! `mkdir`, `touch`, `mktemp`, `ln`, `truncate`, `dd`: files are made.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Instant, SystemTime};

use super::paths::inside;
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;
use crate::streams::{temporary_folder, unused_name};

/// `4k`, `1M`, `512`, `2KB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "c" => 1,
        "w" => 2,
        "b" => 512,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" | "kD" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn mkdir(call: &Call<'_>) -> Outcome {
    // A mode is taken and, as everywhere in WASI, comes to nothing.
    let options =
        Options::parse(call.args, "pm:vZ", &[("parents", 'p'), ("mode", 'm'), ("verbose", 'v')])?;
    if options.operands.is_empty() {
        return Err(call.usage("[-p] DIRECTORY..."));
    }
    let mut status = 0;
    for name in &options.operands {
        let made = if options.has('p') { make_all(Path::new(name)) } else { fs::create_dir(name) };
        match made {
            Ok(()) if options.has('v') => writeln!(call.out(), "created directory: '{name}'")?,
            Ok(()) => {}
            Err(error) => {
                status =
                    call.complain(format!("can't create directory '{name}': {}", sentence(&error)))
            }
        }
    }
    Ok(status)
}

/// As `create_dir_all`, which on WASI takes some refusals for success.
pub(super) fn make_all(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || fs::metadata(path).is_ok_and(|file| file.is_dir()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_all(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

pub(super) fn touch(call: &Call<'_>) -> Outcome {
    let long = [("no-create", 'c'), ("reference", 'r'), ("date", 'd')];
    let options = Options::parse(call.args, "camhr:d:t:", &long)?;
    if options.operands.is_empty() {
        return Err(call.usage("[-c] [-d DATE|-t TIME|-r FILE] FILE..."));
    }
    let time = match (options.value('r'), options.value('d'), options.value('t')) {
        (Some(name), ..) => fs::metadata(name)
            .and_then(|file| file.modified())
            .map_err(|error| Failure::of(name, &error))?,
        (_, Some(text), _) => super::clock::parse(text)
            .ok_or_else(|| Failure::new(format!("invalid date '{text}'")))?,
        (.., Some(text)) => {
            stamp(text).ok_or_else(|| Failure::new(format!("invalid date '{text}'")))?
        }
        _ => SystemTime::now(),
    };
    let both = options.has('a') == options.has('m');
    let mut times = FileTimes::new();
    if both || options.has('a') {
        times = times.set_accessed(time);
    }
    if both || options.has('m') {
        times = times.set_modified(time);
    }
    let mut status = 0;
    for name in &options.operands {
        if options.has('c') && !Path::new(name).exists() {
            continue;
        }
        if let Err(error) = touch_one(name, times) {
            status = call.complain_of(name, &error);
        }
    }
    Ok(status)
}

fn touch_one(name: &str, times: FileTimes) -> io::Result<()> {
    // A folder cannot be opened for writing, nor need it be.
    let file = match fs::metadata(name) {
        Ok(file) if file.is_dir() => File::open(name)?,
        _ => File::options().append(true).create(true).open(name)?,
    };
    file.set_times(times)
}

/// `[[CC]YY]MMDDhhmm[.ss]`
fn stamp(text: &str) -> Option<SystemTime> {
    let (digits, seconds) = text.split_once('.').unwrap_or((text, "00"));
    let year = match digits.len() {
        8 => super::clock::Moment::of(SystemTime::now()).year.to_string(),
        10 => format!("20{}", digits.get(..2)?),
        12 => digits.get(..4)?.to_string(),
        _ => return None,
    };
    let rest = digits.get(digits.len() - 8..)?;
    let date = format!(
        "{year}-{}-{} {}:{}:{seconds}",
        rest.get(..2)?,
        rest.get(2..4)?,
        rest.get(4..6)?,
        rest.get(6..)?
    );
    super::clock::parse(&date)
}

pub(super) fn mktemp(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "dqutp:", &[("directory", 'd')])?;
    let folder = options.value('p').map_or_else(temporary_folder, Into::into);
    let (folder, template) = match options.operands.first() {
        None => (folder, "tmp.XXXXXX"),
        Some(template) if options.has('t') || options.has('p') => (folder, template.as_str()),
        Some(template) => match template.rsplit_once('/') {
            Some((folder, template)) => (format!("{folder}/").into(), template),
            None => ("".into(), template.as_str()),
        },
    };
    let letters = template.len() - template.trim_end_matches('X').len();
    if letters < 3 {
        return Err(Failure::new(format!("invalid template: {template}")));
    }
    let path = unused_name(&folder, template)?;
    let made = match (options.has('u'), options.has('d')) {
        (true, _) => Ok(()),
        (false, true) => fs::create_dir(&path),
        (false, false) => File::create_new(&path).map(drop),
    };
    made.map_err(|error| Failure::of(&path.to_string_lossy(), &error))?;
    writeln!(call.out(), "{}", path.display())?;
    Ok(0)
}

pub(super) fn ln(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "sfnvT", &[("symbolic", 's'), ("force", 'f')])?;
    let (targets, place) = match &options.operands[..] {
        [] => return Err(call.usage("[-sf] TARGET... LINK|DIRECTORY")),
        [only] => (std::slice::from_ref(only), "."),
        [targets @ .., place] => (targets, place.as_str()),
    };
    let is_folder = !options.has('T')
        && fs::metadata(place).is_ok_and(|file| file.is_dir())
        && !(options.has('n') && fs::symlink_metadata(place).is_ok_and(|file| file.is_symlink()));
    if targets.len() > 1 && !is_folder {
        return Err(Failure::new(format!("{place}: Not a directory")));
    }
    let mut status = 0;
    for target in targets {
        let link = if is_folder { inside(place, target) } else { place.to_string() };
        if options.has('f') {
            let _ = fs::remove_file(&link);
        }
        let made =
            if options.has('s') { symlink(target, &link) } else { fs::hard_link(target, &link) };
        if let Err(error) = made {
            status = call.complain_of(&link, &error);
        }
    }
    Ok(status)
}

/// WASI lets no link lead to an absolute path, for it could lead out of what a guest may see.
pub(super) fn symlink(target: &str, link: &str) -> io::Result<()> {
    if cfg!(target_os = "wasi") && target.starts_with('/') {
        return Err(io::Error::other(format!("WASI makes no link to an absolute path ({target})")));
    }
    Ok(rustix::fs::symlink(target, link)?)
}

pub(super) fn truncate(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "cs:", &[("size", 's')])?;
    let text = options.value('s').ok_or_else(|| call.usage("[-c] -s SIZE FILE..."))?;
    let wrong = || Failure::new(format!("invalid size '{text}'"));
    let length = size(text.trim_start_matches(['+', '-'])).ok_or_else(wrong)?;
    let mut status = 0;
    for name in &options.operands {
        let set = || -> io::Result<()> {
            let file =
                File::options().write(true).create(!options.has('c')).truncate(false).open(name)?;
            let now = file.metadata()?.len();
            file.set_len(match text.chars().next() {
                Some('+') => now + length,
                Some('-') => now.saturating_sub(length),
                _ => length,
            })
        };
        match set() {
            Err(error) if options.has('c') && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => status = call.complain_of(name, &error),
            Ok(()) => {}
        }
    }
    Ok(status)
}

pub(super) fn dd(call: &Call<'_>) -> Outcome {
    let mut words = std::collections::BTreeMap::new();
    for arg in call.args {
        match arg.split_once('=') {
            Some((name, value)) => words.insert(name, value),
            None => return Err(Failure::new(format!("{arg}: not NAME=VALUE"))),
        };
    }
    let number = |name: &str, default: Option<u64>| match words.get(name) {
        None => Ok(default),
        Some(text) => {
            size(text).map(Some).ok_or_else(|| Failure::new(format!("invalid number '{text}'")))
        }
    };
    let block = number("bs", Some(512))?.unwrap_or(512);
    let input_block = number("ibs", Some(block))?.unwrap_or(block).clamp(1, 1 << 28);
    let output_block = number("obs", Some(block))?.unwrap_or(block);
    let count = number("count", None)?;
    let has = |name: &str, flag: &str| {
        words.get(name).is_some_and(|flags| flags.split(',').any(|known| known == flag))
    };
    let skip = number("skip", Some(0))?.unwrap_or(0) * input_block;
    let seek = number("seek", Some(0))?.unwrap_or(0) * output_block;
    let begun = Instant::now();

    let input = call.open(words.get("if").copied().unwrap_or("-"))?;
    io::copy(&mut (&mut *input.borrow_mut()).take(skip), &mut io::sink())?;
    let mut file = match words.get("of") {
        None => None,
        Some(name) => {
            let keep = has("conv", "notrunc");
            let opened = File::options().write(true).create(true).truncate(false).open(name);
            let mut file = opened.map_err(|error| Failure::of(name, &error))?;
            if !keep {
                file.set_len(seek).map_err(|error| Failure::of(name, &error))?;
            }
            file.seek(SeekFrom::Start(seek))?;
            Some(file)
        }
    };
    let mut buffer = vec![0; usize::try_from(input_block).unwrap_or(512)];
    let (mut full, mut partial, mut bytes) = (0u64, 0u64, 0u64);
    while count.is_none_or(|count| full + partial < count) {
        let length = read_block(&input, &mut buffer, has("iflag", "fullblock"))?;
        if length == 0 {
            break;
        }
        let is_full = length == buffer.len();
        full += u64::from(is_full);
        partial += u64::from(!is_full);
        bytes += length as u64;
        match &mut file {
            Some(file) => file.write_all(&buffer[..length])?,
            None => call.out().write_all(&buffer[..length])?,
        }
    }
    if words.get("status") != Some(&"none") && words.get("status") != Some(&"noxfer") {
        let seconds = begun.elapsed().as_secs_f64();
        let text = format!(
            "{full}+{partial} records in\n{full}+{partial} records out\n{bytes} bytes copied, {seconds:.6} seconds\n"
        );
        call.out().flush()?;
        call.streams.stderr.borrow_mut().write_all(text.as_bytes())?;
    }
    Ok(0)
}

fn read_block(input: &crate::streams::In, buffer: &mut [u8], whole: bool) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.borrow_mut().read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
        // A file's buffer may end in the middle of a block; a pipe's says what has come.
        if !whole && buffer.len() <= crate::streams::CHUNK && length > 0 {
            break;
        }
    }
    Ok(length)
}
