//! Redirections.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;

use super::ast::{Redirect, RedirectKind};
use super::{Shell, Stop};
use crate::call::sentence;
use crate::streams::{Fd, file_input, file_output, input};

/// What stands behind a descriptor that nobody opened.
pub(super) struct NotOpen;

impl Write for NotOpen {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("the descriptor is not open"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shell {
    /// Carries them out, in order. `Err(Ok(()))`: one failed, and that has been told.
    pub(super) fn redirect(&mut self, redirects: &[Redirect]) -> Result<(), Result<(), Stop>> {
        for redirect in redirects {
            self.redirect_one(redirect)?;
        }
        Ok(())
    }

    fn redirect_one(&mut self, redirect: &Redirect) -> Result<(), Result<(), Stop>> {
        let number = redirect.fd.unwrap_or(0);
        if number >= self.descriptors.len() {
            self.say(&format!("{number}: descriptors go to 9"));
            return Err(Ok(()));
        }
        let fd = match &redirect.kind {
            RedirectKind::Here(slot) => {
                let text = match slot.get() {
                    Some(word) => self.string(word).map_err(Err)?,
                    None => String::new(),
                };
                Some(Fd::In(input(io::Cursor::new(text.into_bytes()))))
            }
            RedirectKind::Duplicate => {
                let target = self.string(&redirect.target).map_err(Err)?;
                match target.parse::<usize>() {
                    _ if target == "-" => None,
                    Ok(from) if self.descriptors.get(from).is_some_and(Option::is_some) => {
                        self.descriptors[from].clone()
                    }
                    _ => {
                        self.say(&format!("{target}: Bad file descriptor"));
                        return Err(Ok(()));
                    }
                }
            }
            kind => {
                let target = self.string(&redirect.target).map_err(Err)?;
                match self.open(&target, kind) {
                    Ok(fd) => Some(fd),
                    Err(error) => {
                        let verb =
                            if matches!(kind, RedirectKind::Read) { "open" } else { "create" };
                        self.say(&format!("can't {verb} {target}: {}", sentence(&error)));
                        return Err(Ok(()));
                    }
                }
            }
        };
        if let Some(Fd::Out(before)) = &self.descriptors[number] {
            let _ = before.borrow_mut().flush();
        }
        if matches!(redirect.kind, RedirectKind::All) {
            self.descriptors[2] = fd.clone();
        }
        self.descriptors[number] = fd;
        Ok(())
    }

    fn open(&self, target: &str, kind: &RedirectKind) -> io::Result<Fd> {
        let is_special = match target {
            "/dev/null" => return Ok(null(kind)),
            "/dev/stdin" => self.descriptors[0].clone(),
            "/dev/stdout" => self.descriptors[1].clone(),
            "/dev/stderr" => self.descriptors[2].clone(),
            _ => None,
        };
        if let Some(fd) = is_special {
            return Ok(fd);
        }
        let mut options = OpenOptions::new();
        let file = match kind {
            RedirectKind::Read => File::open(target)?,
            RedirectKind::Append => options.append(true).create(true).open(target)?,
            RedirectKind::Both => {
                options.read(true).write(true).create(true).truncate(false).open(target)?
            }
            _ if self.options.no_clobber
                && std::fs::metadata(target).is_ok_and(|file| file.is_file()) =>
            {
                return Err(io::Error::other("File exists"));
            }
            _ => File::create(target)?,
        };
        if file.metadata().is_ok_and(|file| file.is_dir()) {
            return Err(io::Error::other("Is a directory"));
        }
        Ok(match kind {
            RedirectKind::Read | RedirectKind::Both => Fd::In(file_input(file)),
            _ => Fd::Out(file_output(file)),
        })
    }
}

/// The null device, which an image from scratch may lack.
fn null(kind: &RedirectKind) -> Fd {
    match kind {
        RedirectKind::Read => Fd::In(Rc::new(RefCell::new(Nothing))),
        _ => Fd::Out(Rc::new(RefCell::new(Nothing))),
    }
}

struct Nothing;

impl Write for Nothing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl BufRead for Nothing {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&[])
    }

    fn consume(&mut self, _: usize) {}
}
