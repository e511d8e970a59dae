//! `od`, `hexdump`: bytes for people.

use std::io::{self, Write};

use crate::call::Failure;
use crate::filter::{Filter, Filtering, Wants};
use crate::options::Options;

#[derive(Clone, Copy)]
enum Form {
    /// Groups of `size` bytes, in this base.
    Numbers {
        size: usize,
        base: Base,
    },
    Characters,
    /// `hexdump -C`
    Canonical,
}

#[derive(Clone, Copy)]
enum Base {
    Octal,
    Decimal,
    Unsigned,
    Hex,
}

struct Dump {
    form: Form,
    /// `None`: no addresses.
    address: Option<Base>,
    address_width: usize,
    all: bool,
    most: u64,
    skip: u64,
    held: Vec<u8>,
    at: u64,
    last: Vec<u8>,
    starred: bool,
}

impl Dump {
    fn new(form: Form, options: &Options) -> Result<Dump, Failure> {
        Ok(Dump {
            form,
            address: Some(Base::Octal),
            address_width: 7,
            all: options.has('v'),
            most: options.number('N')?.or(options.number('n')?).unwrap_or(u64::MAX),
            skip: options.number('j')?.unwrap_or(0),
            held: Vec::new(),
            at: 0,
            last: Vec::new(),
            starred: false,
        })
    }

    fn address(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self.address_width;
        match self.address {
            None => Ok(()),
            Some(Base::Octal) => write!(out, "{:0width$o}", self.at),
            Some(Base::Hex) => write!(out, "{:0width$x}", self.at),
            Some(_) => write!(out, "{:0width$}", self.at),
        }
    }

    fn row(&mut self, row: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if !self.all && row.len() == 16 && self.last == row {
            if !self.starred {
                out.write_all(b"*\n")?;
            }
            self.starred = true;
            self.at += 16;
            return Ok(());
        }
        self.starred = false;
        self.last = row.to_vec();
        self.address(out)?;
        match self.form {
            Form::Numbers { size, base } => {
                for group in row.chunks(size) {
                    let value =
                        group.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                    match base {
                        Base::Octal => write!(
                            out,
                            " {value:0w$o}",
                            w = [3, 3, 6, 6, 11, 11, 11, 11, 22][size]
                        )?,
                        Base::Hex => write!(out, " {value:0w$x}", w = size * 2)?,
                        Base::Unsigned => {
                            write!(out, " {value:w$}", w = [3, 3, 5, 5, 10, 10, 10, 10, 20][size])?
                        }
                        Base::Decimal => {
                            let shift = 64 - 8 * u32::try_from(size).unwrap_or(8);
                            let value = ((value << shift) as i64) >> shift;
                            write!(out, " {value:w$}", w = [4, 4, 6, 6, 11, 11, 11, 11, 20][size])?;
                        }
                    }
                }
            }
            Form::Characters => {
                for byte in row {
                    let text = match byte {
                        0 => "\\0".to_string(),
                        7 => "\\a".to_string(),
                        8 => "\\b".to_string(),
                        9 => "\\t".to_string(),
                        10 => "\\n".to_string(),
                        11 => "\\v".to_string(),
                        12 => "\\f".to_string(),
                        13 => "\\r".to_string(),
                        32..127 => char::from(*byte).to_string(),
                        byte => format!("{byte:03o}"),
                    };
                    write!(out, " {text:>3}")?;
                }
            }
            Form::Canonical => {
                out.write_all(b" ")?;
                for i in 0..16 {
                    if i == 8 {
                        out.write_all(b" ")?;
                    }
                    match row.get(i) {
                        Some(byte) => write!(out, " {byte:02x}")?,
                        None => out.write_all(b"   ")?,
                    }
                }
                let text: String = row
                    .iter()
                    .map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' })
                    .collect();
                write!(out, "  |{text}|")?;
            }
        }
        self.at += row.len() as u64;
        out.write_all(b"\n")
    }
}

impl Filter for Dump {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        self.skip -= skipped as u64;
        self.at += skipped as u64;
        let bytes = &bytes[skipped..];
        let taken = bytes.len().min(usize::try_from(self.most).unwrap_or(usize::MAX));
        self.most -= taken as u64;
        self.held.extend_from_slice(&bytes[..taken]);
        let held = std::mem::take(&mut self.held);
        let rows = held.chunks_exact(16);
        self.held = rows.remainder().to_vec();
        for row in rows {
            self.row(row, out)?;
        }
        Ok(if self.most == 0 { Wants::Enough } else { Wants::More })
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.row(&held, out)?;
        }
        if self.address.is_some() && self.at > 0 {
            self.address(out)?;
            out.write_all(b"\n")?;
        }
        Ok(0)
    }
}

pub(super) fn od(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "A:t:N:j:vbcdoxw:", &[])?;
    let numbers = |size, base| Form::Numbers { size, base };
    let form = match (options.value('t'), options.last_of("bcdox")) {
        (Some(kind), _) => {
            let size = match &kind[1.min(kind.len())..] {
                "1" | "C" => 1,
                "2" | "S" => 2,
                "8" | "L" => 8,
                _ => 4,
            };
            match kind.chars().next() {
                Some('x') => numbers(size, Base::Hex),
                Some('d') => numbers(size, Base::Decimal),
                Some('u') => numbers(size, Base::Unsigned),
                Some('o') => numbers(size, Base::Octal),
                Some('c' | 'a') => Form::Characters,
                _ => return Err(Failure::new(format!("invalid type string '{kind}'"))),
            }
        }
        (None, Some('b')) => numbers(1, Base::Octal),
        (None, Some('c')) => Form::Characters,
        (None, Some('d')) => numbers(2, Base::Unsigned),
        (None, Some('x')) => numbers(2, Base::Hex),
        _ => numbers(2, Base::Octal),
    };
    let mut dump = Dump::new(form, &options)?;
    dump.address = match options.value('A') {
        Some("n") => None,
        Some("x") => Some(Base::Hex),
        Some("d") => Some(Base::Unsigned),
        _ => Some(Base::Octal),
    };
    Ok(Filtering::new(dump, options.operands))
}

pub(super) fn hexdump(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "Cvn:", &[])?;
    let form =
        if options.has('C') { Form::Canonical } else { Form::Numbers { size: 2, base: Base::Hex } };
    let mut dump = Dump::new(form, &options)?;
    dump.address = Some(Base::Hex);
    dump.address_width = if options.has('C') { 8 } else { 7 };
    Ok(Filtering::new(dump, options.operands))
}
