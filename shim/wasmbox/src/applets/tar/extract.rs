//! Listing and unpacking.

use std::cell::RefCell;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::{Archive, EntryType};

use super::{Tar, place};
use crate::applets::clock::Moment;
use crate::applets::copy::pour;
use crate::applets::files::{make_all, symlink};
use crate::call::{Failure, Outcome, sentence};

impl Tar<'_> {
    pub(super) fn read(mut self, file: &str, list: bool) -> Outcome {
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
                let inside = super::place(&target.to_string_lossy(), 0);
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

struct Input(std::rc::Rc<RefCell<dyn io::BufRead>>);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}
