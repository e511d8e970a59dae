//! `ls`.
//!
//! WASI tells a file's kind, length, links and times, but neither mode nor owner. The long form
//! shows what a guest experiences: files are its own user's, and it may read and write them.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Stat};

use super::clock::Moment;
use super::process::{group, name_of, user};
use super::tree::{child, names};
use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

pub(super) fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64;
    for unit in ["", "K", "M", "G", "T"] {
        if value < 1024.0 {
            return match unit {
                "" => bytes.to_string(),
                unit => format!("{value:.1}{unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}P")
}

/// What a file is, as the first letter of the long form says it.
pub(super) fn letter(stat: &Stat) -> char {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        #[cfg(not(target_os = "wasi"))]
        FileType::Fifo => 'p',
        #[cfg(not(target_os = "wasi"))]
        FileType::Socket => 's',
        _ => '-',
    }
}

/// The permission bits: the file system's where they are known, else what holds for a guest.
pub(super) fn mode(stat: &Stat) -> u32 {
    let bits = stat.st_mode & 0o7777;
    if cfg!(target_os = "wasi") {
        return match letter(stat) {
            'd' => 0o755,
            'l' => 0o777,
            _ => 0o644,
        };
    }
    bits
}

/// User and group of a file.
pub(super) fn owner(stat: &Stat) -> (u32, u32) {
    if cfg!(target_os = "wasi") { (user(), group()) } else { (stat.st_uid, stat.st_gid) }
}

pub(super) fn permissions(stat: &Stat) -> String {
    let mode = mode(stat);
    let mut text = letter(stat).to_string();
    for (i, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode >> (8 - i) & 1 == 1 { letter } else { '-' });
    }
    if mode & 0o1000 != 0 {
        text.replace_range(9..10, if mode & 1 == 1 { "t" } else { "T" });
    }
    text
}

pub(super) fn modified(stat: &Stat) -> SystemTime {
    let (seconds, nanos) = time_of(stat);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}

#[cfg(target_os = "wasi")]
fn time_of(stat: &Stat) -> (u64, u32) {
    (
        u64::try_from(stat.st_mtim.tv_sec).unwrap_or(0),
        u32::try_from(stat.st_mtim.tv_nsec).unwrap_or(0),
    )
}

#[cfg(not(target_os = "wasi"))]
fn time_of(stat: &Stat) -> (u64, u32) {
    (u64::try_from(stat.st_mtime).unwrap_or(0), u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

struct Entry {
    name: String,
    path: String,
    stat: Option<Stat>,
}

impl Entry {
    fn of(name: &str, path: &str, follow: bool) -> Result<Entry, std::io::Error> {
        if path.is_empty() {
            // WASI takes no name for the directory itself.
            return Err(rustix::io::Errno::NOENT.into());
        }
        let stat = if follow {
            rustix::fs::stat(path).or_else(|_| rustix::fs::lstat(path))
        } else {
            rustix::fs::lstat(path)
        };
        Ok(Entry { name: name.to_string(), path: path.to_string(), stat: Some(stat?) })
    }

    fn is_folder(&self) -> bool {
        self.stat.as_ref().is_some_and(|stat| letter(stat) == 'd')
    }

    fn size(&self) -> u64 {
        self.stat.as_ref().map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn modified(&self) -> SystemTime {
        self.stat.as_ref().map_or(SystemTime::UNIX_EPOCH, modified)
    }
}

pub(super) fn ls(call: &Call<'_>) -> Outcome {
    let options = Options::parse(
        call.args,
        "1AaCxdLHRFplinshrSXvctukTgow:",
        &[("all", 'a'), ("color", 'K'), ("recursive", 'R')],
    )
    .or_else(|failure| match call.args.iter().any(|arg| arg.starts_with("--color")) {
        true => {
            let args: Vec<String> =
                call.args.iter().filter(|arg| !arg.starts_with("--color")).cloned().collect();
            Options::parse(&args, "1AaCxdLHRFplinshrSXvctukTgow:", &[])
        }
        false => Err(failure),
    })?;
    let mut status = 0;
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let operands =
        if options.operands.is_empty() { vec![".".to_string()] } else { options.operands.clone() };
    for name in &operands {
        // A link that is named is followed, unless it is to be described itself.
        let follow = options.has('L') || !(options.has('l') || options.has('d'));
        match Entry::of(name, name, follow) {
            Ok(entry) if entry.is_folder() && !options.has('d') => folders.push(entry),
            Ok(entry) => files.push(entry),
            Err(error) => status = call.complain_of(name, &error),
        }
    }
    let mut ls = Ls {
        call,
        options: &options,
        titles: operands.len() > 1 || options.has('R'),
        first: true,
        status,
    };
    if !files.is_empty() {
        ls.sort(&mut files);
        ls.show(&files, false)?;
        ls.first = false;
    }
    ls.sort(&mut folders);
    for folder in folders {
        ls.folder(&folder.path)?;
    }
    Ok(ls.status)
}

struct Ls<'a> {
    call: &'a Call<'a>,
    options: &'a Options,
    titles: bool,
    first: bool,
    status: i32,
}

impl Ls<'_> {
    fn folder(&mut self, path: &str) -> Result<(), Failure> {
        let list = match names(path) {
            Ok(list) => list,
            Err(error) => {
                self.status = self.call.complain_of(path, &error);
                return Ok(());
            }
        };
        if self.titles {
            let gap = if self.first { "" } else { "\n" };
            writeln!(self.call.out(), "{gap}{path}:")?;
        }
        self.first = false;
        let all = self.options.has('a');
        let mut entries = Vec::new();
        let dots = if all { &[".", ".."][..] } else { &[] };
        let hidden = all || self.options.has('A');
        let shown = list.iter().map(String::as_str).filter(|name| hidden || !name.starts_with('.'));
        for name in dots.iter().copied().chain(shown) {
            let path = child(path, name);
            match Entry::of(name, &path, self.options.has('L')) {
                Ok(entry) => entries.push(entry),
                // `..` of `/` is above what a guest may see.
                Err(_) if name == ".." => entries.push(Entry {
                    name: name.to_string(),
                    path,
                    stat: rustix::fs::stat("/").ok(),
                }),
                Err(error) => self.status = self.call.complain_of(&path, &error),
            }
        }
        self.sort(&mut entries);
        self.show(&entries, true)?;
        if self.options.has('R') {
            let below = entries
                .iter()
                .filter(|entry| entry.is_folder() && entry.name != "." && entry.name != "..");
            for entry in below {
                self.folder(&entry.path)?;
            }
        }
        Ok(())
    }

    fn sort(&self, entries: &mut [Entry]) {
        match self.options.last_of("tSXv") {
            Some('t') => {
                entries.sort_by(|a, b| b.modified().cmp(&a.modified()).then(a.name.cmp(&b.name)))
            }
            Some('S') => entries.sort_by(|a, b| b.size().cmp(&a.size()).then(a.name.cmp(&b.name))),
            _ => entries.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        if self.options.has('r') {
            entries.reverse();
        }
    }

    fn show(&self, entries: &[Entry], total: bool) -> Result<(), Failure> {
        let long = "lngo".chars().any(|letter| self.options.has(letter));
        if !long {
            return self.columns(entries);
        }
        if total {
            let blocks: u64 = entries.iter().map(|entry| entry.size().div_ceil(4096) * 4).sum();
            writeln!(self.call.out(), "total {blocks}")?;
        }
        for entry in entries {
            self.long(entry)?;
        }
        Ok(())
    }

    fn columns(&self, entries: &[Entry]) -> Result<(), Failure> {
        let name = |entry: &Entry| {
            let inode = entry
                .stat
                .as_ref()
                .filter(|_| self.options.has('i'))
                .map(|stat| format!("{} ", stat.st_ino));
            format!("{}{}{}", inode.unwrap_or_default(), entry.name, self.sign(entry))
        };
        let names: Vec<String> = entries.iter().map(name).collect();
        let columns =
            self.options.has('C') || self.call.streams.terminals()[1] && !self.options.has('1');
        let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
        let per_row = if columns { (80 / widest).max(1) } else { 1 };
        let rows = names.len().div_ceil(per_row);
        for row in 0..rows {
            let line: String =
                (row..names.len()).step_by(rows).map(|i| format!("{:widest$}", names[i])).collect();
            writeln!(self.call.out(), "{}", if columns { line.trim_end() } else { &names[row] })?;
        }
        Ok(())
    }

    fn sign(&self, entry: &Entry) -> &'static str {
        let kind = entry.stat.as_ref().map_or('-', letter);
        match kind {
            'd' if self.options.has('F') || self.options.has('p') => "/",
            'l' if self.options.has('F') => "@",
            'p' if self.options.has('F') => "|",
            's' if self.options.has('F') => "=",
            _ => "",
        }
    }

    fn long(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(stat) = &entry.stat else { return Ok(()) };
        let name = |file: &str, id: u32| match self.options.has('n') {
            true => id.to_string(),
            false => name_of(file, id).unwrap_or_else(|| id.to_string()),
        };
        let (uid, gid) = owner(stat);
        let (user, group) = (name("/etc/passwd", uid), name("/etc/group", gid));
        let size =
            if self.options.has('h') { human(entry.size()) } else { entry.size().to_string() };
        let moment = Moment::of(entry.modified());
        let age = SystemTime::now().duration_since(entry.modified()).unwrap_or_default();
        let half_a_year = Duration::from_secs(182 * 86400);
        let clock =
            if age > half_a_year { format!("{:5}", moment.year) } else { moment.format("%H:%M") };
        let target = match letter(stat) {
            'l' => fs::read_link(&entry.path)
                .map(|path| format!(" -> {}", path.display()))
                .unwrap_or_default(),
            _ => String::new(),
        };
        let inode =
            if self.options.has('i') { format!("{:>7} ", stat.st_ino) } else { String::new() };
        writeln!(
            self.call.out(),
            "{inode}{} {:>4} {user:<8} {group:<8} {size:>9} {} {:2} {clock} {}{}{target}",
            permissions(stat),
            stat.st_nlink,
            moment.month_name(),
            moment.day,
            entry.name,
            self.sign(entry),
        )?;
        Ok(())
    }
}
