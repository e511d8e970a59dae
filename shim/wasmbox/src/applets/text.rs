//! `cat`, `nl`, `rev`, `tac`, `tee`.

use std::fs::File;
use std::io::{self, Write};

use crate::call::{Failure, sentence};
use crate::filter::{ByLine, Filter, Filtering, Lines, Wants};
use crate::options::Options;

pub(super) fn cat(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "uvnbesEtTA", &[])?;
    let files = options.operands.clone();
    let show = |letters: &str| letters.chars().any(|letter| options.has(letter));
    let numbering = match options.last_of("nb") {
        Some('b') => Numbering::Filled,
        Some(_) => Numbering::All,
        None => Numbering::None,
    };
    let shown = Shown {
        numbering,
        ends: show("eEA"),
        tabs: show("tTA"),
        controls: show("vetA"),
        number: 0,
        begun: false,
    };
    let plain = matches!(numbering, Numbering::None) && !show("eEAtTv");
    Ok(if plain { Filtering::new(Copy, files) } else { Filtering::new(shown, files) })
}

/// Bytes as they are.
struct Copy;

impl Filter for Copy {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        out.write_all(bytes)?;
        Ok(Wants::More)
    }
}

#[derive(Clone, Copy)]
enum Numbering {
    None,
    All,
    Filled,
}

struct Shown {
    numbering: Numbering,
    ends: bool,
    tabs: bool,
    controls: bool,
    number: u64,
    /// In the middle of a line.
    begun: bool,
}

impl Filter for Shown {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        for byte in bytes {
            let counts = match self.numbering {
                Numbering::None => false,
                Numbering::All => true,
                Numbering::Filled => *byte != b'\n',
            };
            if !self.begun && counts {
                self.number += 1;
                write!(out, "{:6}\t", self.number)?;
            }
            self.begun = *byte != b'\n';
            match byte {
                b'\n' if self.ends => out.write_all(b"$\n")?,
                b'\t' if self.tabs => out.write_all(b"^I")?,
                b'\n' | b'\t' => out.write_all(&[*byte])?,
                byte if self.controls => visible(*byte, out)?,
                byte => out.write_all(&[*byte])?,
            }
        }
        Ok(Wants::More)
    }
}

fn visible(byte: u8, out: &mut dyn Write) -> io::Result<()> {
    if byte >= 128 {
        out.write_all(b"M-")?;
    }
    match byte & 127 {
        127 => out.write_all(b"^?"),
        low if low < 32 => out.write_all(&[b'^', low + 64]),
        byte => out.write_all(&[byte]),
    }
}

pub(super) fn nl(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "b:w:s:n:v:i:", &[])?;
    let numbered = Numbered {
        all: options.value('b') == Some("a"),
        width: options.number('w')?.unwrap_or(6),
        separator: options.value('s').unwrap_or("\t").to_string(),
        number: options.number('v')?.unwrap_or(1),
    };
    Ok(Filtering::new(ByLine::new(numbered), options.operands))
}

struct Numbered {
    all: bool,
    width: usize,
    separator: String,
    number: i64,
}

impl Lines for Numbered {
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let width = self.width.min(100);
        if line.is_empty() && !self.all {
            write!(out, "{:1$}", "", width + self.separator.len())?;
        } else {
            write!(out, "{:width$}{}", self.number, self.separator)?;
            self.number += 1;
        }
        out.write_all(line)?;
        out.write_all(b"\n")?;
        Ok(Wants::More)
    }
}

pub(super) fn rev(args: &[String]) -> Result<Filtering, Failure> {
    Ok(Filtering::new(ByLine::new(Reversed), Options::parse(args, "", &[])?.operands))
}

struct Reversed;

impl Lines for Reversed {
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let text: String = String::from_utf8_lossy(line).chars().rev().collect();
        writeln!(out, "{text}")?;
        Ok(Wants::More)
    }
}

pub(super) fn tac(args: &[String]) -> Result<Filtering, Failure> {
    let files = Options::parse(args, "", &[])?.operands;
    Ok(Filtering::new(Backwards::default(), files))
}

#[derive(Default)]
struct Backwards(Vec<u8>);

impl Filter for Backwards {
    fn feed(&mut self, bytes: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        self.0.extend_from_slice(bytes);
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n').rev() {
            out.write_all(line)?;
        }
        Ok(())
    }
}

/// Its operands are outputs, so it reads nothing but stdin.
pub(super) fn tee(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "ai", &[("append", 'a')])?;
    let mut tee = Tee { files: Vec::new(), status: 0, complaints: Vec::new() };
    for name in &options.operands {
        let append = options.has('a');
        let opened =
            File::options().create(true).write(!append).append(append).truncate(!append).open(name);
        match opened {
            Ok(file) => tee.files.push(file),
            Err(error) => tee.complaints.push(format!("tee: {name}: {}", sentence(&error))),
        }
    }
    tee.status = i32::from(!tee.complaints.is_empty());
    if tee.files.is_empty() && tee.status != 0 {
        return Err(Failure::new(tee.complaints.join("; ").trim_start_matches("tee: ")));
    }
    Ok(Filtering::new(tee, Vec::new()))
}

struct Tee {
    files: Vec<File>,
    status: i32,
    complaints: Vec<String>,
}

impl Filter for Tee {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        for file in &mut self.files {
            if file.write_all(bytes).is_err() {
                self.status = 1;
            }
        }
        out.write_all(bytes)?;
        Ok(Wants::More)
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<i32> {
        Ok(self.status)
    }
}
