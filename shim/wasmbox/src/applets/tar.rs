//! `tar`: what `kubectl cp` calls on the other side, and what people unpack by hand.
//!
//! The format is the crate's; files are handled here, as WASI has no modes, no owners and no
//! devices. Modes of an archive come to nothing, and a new one says what `ls -l` says.

use std::cell::RefCell;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::{Archive, Builder, EntryType, Header};

use super::clock::Moment;
use super::copy::pour;
use super::files::{make_all, symlink};
use super::tree::{child, names};
use crate::call::{Call, Failure, Outcome, sentence};
use crate::options::Options;
use crate::shell::pattern::{matches, plain};

const LONG: [(&str, char); 30] = [
    ("create", 'c'),
    ("extract", 'x'),
    ("get", 'x'),
    ("list", 't'),
    ("file", 'f'),
    ("verbose", 'v'),
    ("directory", 'C'),
    ("touch", 'm'),
    ("to-stdout", 'O'),
    ("gzip", 'z'),
    ("bzip2", 'j'),
    ("xz", 'J'),
    ("dereference", 'h'),
    ("exclude", 'E'),
    ("strip-components", 'S'),
    ("keep-old-files", 'k'),
    ("files-from", 'T'),
    ("exclude-from", 'X'),
    ("no-same-permissions", 'o'),
    ("no-same-owner", 'o'),
    ("same-permissions", 'p'),
    ("preserve-permissions", 'p'),
    ("numeric-owner", 'p'),
    ("overwrite", 'p'),
    ("absolute-names", 'P'),
    ("no-recursion", 'n'),
    ("warning", 'W'),
    ("owner", 'W'),
    ("group", 'W'),
    ("mode", 'W'),
];

pub(super) fn tar(call: &Call<'_>) -> Outcome {
    let args = with_dash(call.args);
    let options = Options::parse(&args, "cxtf:vC:mOzjJhE:S:kT:X:opPnW:a", &LONG)?;
    if options.last_of("zjJ").is_some() {
        return Err(Failure::new("no compression is built in: pack without -z, -j and -J"));
    }
    let mut excluded: Vec<String> = options.values('E').map(str::to_string).collect();
    for file in options.values('X') {
        excluded.extend(String::from_utf8_lossy(&call.read(file)?).lines().map(str::to_string));
    }
    let tar = Tar { call, options: &options, excluded, status: 0 };
    let file = options.value('f').unwrap_or("-").to_string();
    match options.last_of("cxt") {
        Some('c') => tar.create(&file),
        Some(letter) => tar.read(&file, letter == 't'),
        None => Err(call.usage("c|x|t [-f FILE] [-C DIRECTORY] [-vmO] [FILE]...")),
    }
}

/// The first word may lack its dash; its values then follow in the order of its letters.
fn with_dash(args: &[String]) -> Vec<String> {
    let Some(first) = args.first().filter(|first| !first.starts_with('-')) else {
        return args.to_vec();
    };
    let mut rest = args[1..].iter();
    let mut words = Vec::new();
    for letter in first.chars() {
        words.push(format!("-{letter}"));
        if "fCTX".contains(letter) {
            words.extend(rest.next().cloned());
        }
    }
    words.extend(rest.cloned());
    words
}

struct Tar<'a> {
    call: &'a Call<'a>,
    options: &'a Options,
    excluded: Vec<String>,
    status: i32,
}

impl Tar<'_> {
    fn is_excluded(&self, name: &str) -> bool {
        let fits = |pattern: &String, text: &str| {
            matches(&plain(pattern), &text.chars().collect::<Vec<_>>())
        };
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.trim_start_matches("./");
        self.excluded.iter().any(|pattern| fits(pattern, name) || fits(pattern, last))
    }

    fn enter(&self) -> Result<(), Failure> {
        for folder in self.options.values('C') {
            std::env::set_current_dir(folder).map_err(|error| {
                Failure::new(format!("can't change directory to '{folder}': {}", sentence(&error)))
            })?;
        }
        Ok(())
    }

    fn create(mut self, file: &str) -> Outcome {
        let before = std::env::current_dir();
        let mut operands = self.options.operands.clone();
        for list in self.options.values('T') {
            operands.extend(
                String::from_utf8_lossy(&self.call.read(list)?).lines().map(str::to_string),
            );
        }
        if operands.is_empty() {
            return Err(Failure::new("empty archive"));
        }
        let out: Box<dyn Write> = match file {
            "-" => Box::new(Stdout(&self.call.streams.stdout)),
            file => Box::new(io::BufWriter::new(
                File::create(file).map_err(|error| Failure::of(file, &error))?,
            )),
        };
        self.enter()?;
        let mut builder = Builder::new(out);
        for name in &operands {
            let stored = name.trim_start_matches('/');
            let stored = if stored.is_empty() { "." } else { stored };
            if name.starts_with('/') && name != "/" {
                self.call.complain(format!("removing leading '/' from member names of '{name}'"));
            }
            self.add(&mut builder, name, stored)?;
        }
        builder.finish()?;
        drop(builder);
        if let Ok(before) = before {
            let _ = std::env::set_current_dir(before);
        }
        Ok(self.status)
    }

    fn add(
        &mut self,
        builder: &mut Builder<Box<dyn Write + '_>>,
        path: &str,
        stored: &str,
    ) -> Result<(), Failure> {
        if self.is_excluded(stored) {
            return Ok(());
        }
        let found =
            if self.options.has('h') { rustix::fs::stat(path) } else { rustix::fs::lstat(path) };
        let stat = match found {
            Ok(stat) => stat,
            Err(error) => {
                self.status = self.call.complain_of(path, &error.into());
                return Ok(());
            }
        };
        let mut header = Header::new_gnu();
        let since =
            super::ls::modified(&stat).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (uid, gid) = super::ls::owner(&stat);
        header.set_mode(super::ls::mode(&stat));
        header.set_mtime(since.as_secs());
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_size(0);
        match super::ls::letter(&stat) {
            'd' => {
                header.set_entry_type(EntryType::Directory);
                self.tell(&format!("{}/", stored.trim_end_matches('/')))?;
                builder.append_data(
                    &mut header,
                    format!("{}/", stored.trim_end_matches('/')),
                    io::empty(),
                )?;
                if !self.options.has('n') {
                    for name in names(path).map_err(|error| Failure::of(path, &error))? {
                        self.add(builder, &child(path, &name), &child(stored, &name))?;
                    }
                }
            }
            'l' => {
                header.set_entry_type(EntryType::Symlink);
                self.tell(stored)?;
                let target = fs::read_link(path).map_err(|error| Failure::of(path, &error))?;
                builder.append_link(&mut header, stored, target)?;
            }
            '-' => {
                let file = match File::open(path) {
                    Ok(file) => file,
                    Err(error) => {
                        self.status = self.call.complain_of(path, &error);
                        return Ok(());
                    }
                };
                self.tell(stored)?;
                let size = file.metadata()?.len();
                header.set_entry_type(EntryType::Regular);
                header.set_size(size);
                // A file that grows or shrinks meanwhile must not shift what follows.
                let exact = io::BufReader::with_capacity(crate::streams::CHUNK, file)
                    .chain(io::repeat(0))
                    .take(size);
                builder.append_data(&mut header, stored, exact)?;
            }
            _ => self.status = self.call.complain(format!("{path}: unknown file type; not packed")),
        }
        Ok(())
    }

    /// `-v`: on stderr when the archive itself goes to stdout.
    fn tell(&self, name: &str) -> Result<(), Failure> {
        if !self.options.has('v') {
            return Ok(());
        }
        let line = format!("{name}\n");
        let to_stdout = self.options.has('c') && self.options.value('f').unwrap_or("-") == "-";
        match to_stdout {
            true => self.call.streams.stderr.borrow_mut().write_all(line.as_bytes())?,
            false => self.call.out().write_all(line.as_bytes())?,
        }
        Ok(())
    }

    fn read(mut self, file: &str, list: bool) -> Outcome {
        let before = std::env::current_dir();
        let input = self.call.open(file)?;
        self.enter()?;
        let mut archive = Archive::new(Input(input));
        let strip = self.options.number::<usize>('S')?.unwrap_or(0);
        let wanted: Vec<&str> =
            self.options.operands.iter().map(|name| name.trim_matches('/')).collect();
        let mut found = vec![false; wanted.len()];
        for entry in archive.entries()? {
            let mut entry = entry.map_err(|error| {
                Failure::new(format!("not a tar archive, or a damaged one: {}", sentence(&error)))
            })?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let plain_name = name.trim_matches('/').trim_start_matches("./");
            let is_below = |wanted: &str| {
                let wanted = wanted.trim_start_matches("./");
                plain_name == wanted
                    || plain_name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
            };
            let mut is_wanted = wanted.is_empty();
            for (wanted, found) in wanted.iter().zip(&mut found) {
                let fits = is_below(wanted);
                is_wanted |= fits;
                *found |= fits;
            }
            if !is_wanted || self.is_excluded(&name) {
                continue;
            }
            if list {
                self.show(&entry, &name)?;
                continue;
            }
            self.tell(&name)?;
            if self.options.has('O') {
                pour(&mut entry, &mut *self.call.out())?;
                continue;
            }
            let Some(place) = place(&name, strip) else {
                self.status = self
                    .call
                    .complain(format!("{name}: it leads out of the directory; not unpacked"));
                continue;
            };
            if place.as_os_str().is_empty() {
                continue;
            }
            if let Err(error) = self.unpack(&mut entry, &place) {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    return Err(Failure::new("short read: the archive ends too early"));
                }
                self.status = self.call.complain_of(&name, &error);
            }
        }
        for (name, _) in wanted.iter().zip(&found).filter(|(_, found)| !**found) {
            self.status = self.call.complain(format!("{name}: not found in archive"));
        }
        // The rest of the input is padding; whoever writes it wants to see it read.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink())?;
        if let Ok(before) = before {
            let _ = std::env::set_current_dir(before);
        }
        Ok(self.status)
    }

    fn show(&self, entry: &tar::Entry<'_, Input>, name: &str) -> Result<(), Failure> {
        if !self.options.has('v') {
            return Ok(writeln!(self.call.out(), "{name}")?);
        }
        let header = entry.header();
        let kind = match header.entry_type() {
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            _ => '-',
        };
        let mode = header.mode().unwrap_or(0);
        let bits: String = "rwxrwxrwx"
            .chars()
            .enumerate()
            .map(|(i, c)| if mode >> (8 - i) & 1 == 1 { c } else { '-' })
            .collect();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0));
        let time = Moment::of(time).format("%F %T");
        let owner = |name: Option<&str>, id: io::Result<u64>| {
            name.filter(|name| !name.is_empty())
                .map_or_else(|| id.unwrap_or(0).to_string(), str::to_string)
        };
        let user = owner(header.username().ok().flatten(), header.uid());
        let group = owner(header.groupname().ok().flatten(), header.gid());
        let link = entry
            .link_name()
            .ok()
            .flatten()
            .map(|target| format!(" -> {}", target.display()))
            .unwrap_or_default();
        writeln!(
            self.call.out(),
            "{kind}{bits} {user}/{group} {:>9} {time} {name}{link}",
            entry.size()
        )?;
        Ok(())
    }

    fn unpack(&self, entry: &mut tar::Entry<'_, Input>, place: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            return make_all(place);
        }
        if let Some(parent) = place.parent() {
            make_all(parent)?;
        }
        if self.options.has('k') && fs::symlink_metadata(place).is_ok() {
            return Ok(());
        }
        // A link in the way is replaced and not written through.
        if fs::symlink_metadata(place).is_ok_and(|file| !file.is_dir()) {
            fs::remove_file(place)?;
        }
        let target = || -> io::Result<PathBuf> {
            let name = entry.link_name()?.map(|name| name.into_owned());
            name.ok_or_else(|| io::Error::other("a link to nothing"))
        };
        match kind {
            EntryType::Symlink => symlink(&target()?.to_string_lossy(), &place.to_string_lossy()),
            EntryType::Link => {
                let target = target()?;
                let inside = self::place(&target.to_string_lossy(), 0);
                fs::hard_link(
                    inside.ok_or_else(|| {
                        io::Error::other("a link that leads out of the directory")
                    })?,
                    place,
                )
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = File::create(place)?;
                pour(entry, &mut file)?;
                if !self.options.has('m') {
                    let time =
                        SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?);
                    file.set_times(FileTimes::new().set_modified(time))?;
                }
                Ok(())
            }
            _ => Err(io::Error::other("WASI makes no special files; not unpacked")),
        }
    }
}

/// Where an entry goes: below the current directory. `None`: it says otherwise.
fn place(name: &str, strip: usize) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return None,
            _ => {}
        }
    }
    Some(path.components().skip(strip).collect())
}

struct Stdout<'a>(&'a crate::streams::Out);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

struct Input(std::rc::Rc<RefCell<dyn io::BufRead>>);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_below_the_directory() {
        for (name, strip, expected) in [
            ("a/b", 0, Some("a/b")),
            ("/etc/passwd", 0, Some("etc/passwd")),
            ("./a", 0, Some("a")),
            ("a/b/c", 1, Some("b/c")),
            ("a/../../b", 0, None),
            ("..", 0, None),
        ] {
            assert_eq!(place(name, strip), expected.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn the_first_word_needs_no_dash() {
        let args = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
        assert_eq!(with_dash(&args("xmf - -C /tmp")), args("-x -m -f - -C /tmp"));
        assert_eq!(with_dash(&args("fcC a.tar b c")), args("-f a.tar -c -C b c"));
        assert_eq!(with_dash(&args("-xmf -")), args("-xmf -"));
    }
}
