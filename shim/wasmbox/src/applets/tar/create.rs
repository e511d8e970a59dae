//! Packing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::SystemTime;

use tar::{Builder, EntryType, Header};

use super::Tar;
use crate::applets::ls;
use crate::applets::tree::{child, names};
use crate::call::{Failure, Outcome};

impl Tar<'_> {
    pub(super) fn create(mut self, file: &str) -> Outcome {
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
        let since = ls::modified(&stat).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (uid, gid) = ls::owner(&stat);
        header.set_mode(ls::mode(&stat));
        header.set_mtime(since.as_secs());
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_size(0);
        match ls::letter(&stat) {
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
