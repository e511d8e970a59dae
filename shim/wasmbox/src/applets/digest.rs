//! `md5sum`, `sha256sum`, `cksum`, `base64`.

use std::io::{self, Write};

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::call::Failure;
use crate::filter::{Filter, Filtering, Wants};
use crate::options::Options;

pub(super) fn md5sum(args: &[String]) -> Result<Filtering, Failure> {
    sum::<Md5>(args)
}

pub(super) fn sha256sum(args: &[String]) -> Result<Filtering, Failure> {
    sum::<Sha256>(args)
}

fn sum<D: Digest + 'static>(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "bt", &[])?;
    Ok(Filtering::new(Sum { digest: D::new(), name: "-".to_string() }, options.operands))
}

struct Sum<D> {
    digest: D,
    name: String,
}

impl<D: Digest> Filter for Sum<D> {
    fn begin(&mut self, name: Option<&str>, _: &mut dyn Write) -> io::Result<()> {
        self.name = name.unwrap_or("-").to_string();
        self.digest = D::new();
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        self.digest.update(bytes);
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let digest = std::mem::replace(&mut self.digest, D::new()).finalize();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{hex}  {}", self.name)
    }
}

pub(super) fn cksum(args: &[String]) -> Result<Filtering, Failure> {
    let files = Options::parse(args, "", &[])?.operands;
    Ok(Filtering::new(Crc::default(), files))
}

/// POSIX's own CRC, which the length is part of.
#[derive(Default)]
struct Crc {
    crc: u32,
    length: u64,
    name: Option<String>,
}

impl Crc {
    fn byte(&mut self, byte: u8) {
        self.crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            let carry = self.crc & 0x8000_0000 != 0;
            self.crc = (self.crc << 1) ^ if carry { 0x04c1_1db7 } else { 0 };
        }
    }
}

impl Filter for Crc {
    fn begin(&mut self, name: Option<&str>, _: &mut dyn Write) -> io::Result<()> {
        *self = Crc { crc: 0, length: 0, name: name.map(str::to_string) };
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        bytes.iter().for_each(|byte| self.byte(*byte));
        self.length += bytes.len() as u64;
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut length = self.length;
        while length > 0 {
            self.byte((length & 0xff) as u8);
            length >>= 8;
        }
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        writeln!(out, "{} {}{name}", !self.crc, self.length)
    }
}

pub(super) fn base64(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "diw:", &[("decode", 'd'), ("wrap", 'w')])?;
    let files = options.operands.clone();
    if options.has('d') {
        return Ok(Filtering::new(Decode { bits: 0, count: 0, wrong: false }, files));
    }
    let width = options.number('w')?.unwrap_or(76);
    Ok(Filtering::new(Encode { held: Vec::new(), width, column: 0 }, files))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct Encode {
    held: Vec<u8>,
    width: usize,
    column: usize,
}

impl Encode {
    fn group(&mut self, group: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let letter = if i <= group.len() {
                ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]
            } else {
                b'='
            };
            out.write_all(&[letter])?;
            self.column += 1;
            if self.column == self.width {
                out.write_all(b"\n")?;
                self.column = 0;
            }
        }
        Ok(())
    }
}

impl Filter for Encode {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let groups = held.chunks_exact(3);
        self.held = groups.remainder().to_vec();
        for group in groups {
            self.group(group, out)?;
        }
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.group(&held, out)?;
        }
        if self.column > 0 {
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

struct Decode {
    bits: u32,
    count: u32,
    wrong: bool,
}

impl Filter for Decode {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        for byte in bytes.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if *byte == b'=' {
                continue;
            }
            let Some(value) = ALPHABET.iter().position(|letter| letter == byte) else {
                self.wrong = true;
                return Ok(Wants::Enough);
            };
            self.bits = self.bits << 6 | u32::try_from(value).unwrap_or(0);
            self.count += 6;
            if self.count >= 8 {
                self.count -= 8;
                out.write_all(&[(self.bits >> self.count & 0xff) as u8])?;
            }
        }
        Ok(Wants::More)
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<i32> {
        if self.wrong { Err(io::Error::other("truncated input")) } else { Ok(0) }
    }
}

/// On one line.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut encode = Encode { held: Vec::new(), width: 0, column: 0 };
    let mut out = Vec::new();
    // A vector takes everything.
    let _ = encode.feed(bytes, &mut out).and_then(|_| encode.end(&mut out));
    String::from_utf8_lossy(&out).trim_end().to_string()
}
