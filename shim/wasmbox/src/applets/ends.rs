//! `head`, `tail`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use crate::call::Failure;
use crate::filter::{Filter, Filtering, Wants};
use crate::options::Options;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Lines,
    Bytes,
}

/// `-5` of old is `-n 5`.
fn modern(args: &[String]) -> Vec<String> {
    let old = |arg: &String| {
        arg.len() > 1 && arg.starts_with('-') && arg[1..].bytes().all(|c| c.is_ascii_digit())
    };
    let mut args = args.to_vec();
    if let Some(first) = args.first_mut().filter(|arg| old(arg)) {
        *first = format!("-n{}", &first[1..]);
    }
    args
}

/// With the suffixes of sizes.
fn count(text: &str) -> Result<u64, Failure> {
    super::files::size(text).ok_or_else(|| Failure::new(format!("invalid number '{text}'")))
}

pub(super) fn head(args: &[String]) -> Result<Filtering, Failure> {
    let options =
        Options::parse(&modern(args), "n:c:qv", &[("lines", 'n'), ("bytes", 'c'), ("quiet", 'q')])?;
    let unit = if options.last_of("nc") == Some('c') { Unit::Bytes } else { Unit::Lines };
    let value = options.value(if unit == Unit::Bytes { 'c' } else { 'n' }).unwrap_or("10");
    let (all_but, value) = match value.strip_prefix('-') {
        Some(value) => (true, value),
        None => (false, value),
    };
    let count = count(value)?;
    let headers = Headers::new(&options);
    let files = options.operands;
    Ok(match all_but {
        true => Filtering::new(
            AllBut {
                unit,
                keep: usize::try_from(count).unwrap_or(usize::MAX),
                held: VecDeque::new(),
                headers,
            },
            files,
        ),
        false => Filtering::new(Head { unit, count, left: count, headers }, files),
    })
}

/// `==> name <==` in front of each of several files.
struct Headers {
    on: bool,
    first: bool,
}

impl Headers {
    fn new(options: &Options) -> Headers {
        Headers {
            on: (options.operands.len() > 1 || options.has('v')) && !options.has('q'),
            first: true,
        }
    }

    fn show(&mut self, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        if self.on {
            let gap = if self.first { "" } else { "\n" };
            let name = name.filter(|name| *name != "-").unwrap_or("standard input");
            writeln!(out, "{gap}==> {name} <==")?;
            self.first = false;
        }
        Ok(())
    }
}

struct Head {
    unit: Unit,
    count: u64,
    left: u64,
    headers: Headers,
}

impl Filter for Head {
    fn begin(&mut self, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        self.left = self.count;
        self.headers.show(name, out)
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let mut length = 0;
        if self.unit == Unit::Bytes {
            length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= length as u64;
        } else {
            while self.left > 0 && length < bytes.len() {
                match bytes[length..].iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        length += end + 1;
                        self.left -= 1;
                    }
                    None => length = bytes.len(),
                }
            }
        }
        out.write_all(&bytes[..length])?;
        Ok(if self.left == 0 { Wants::Enough } else { Wants::More })
    }
}

/// `head -n -5`
struct AllBut {
    unit: Unit,
    keep: usize,
    held: VecDeque<Vec<u8>>,
    headers: Headers,
}

impl Filter for AllBut {
    fn begin(&mut self, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        self.held.clear();
        self.headers.show(name, out)
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        hold(&mut self.held, bytes, self.unit);
        while self.held.len() > self.keep && is_whole(&self.held, self.unit)
            || self.held.len() > self.keep + 1
        {
            if let Some(piece) = self.held.pop_front() {
                out.write_all(&piece)?;
            }
        }
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while self.held.len() > self.keep {
            if let Some(piece) = self.held.pop_front() {
                out.write_all(&piece)?;
            }
        }
        Ok(())
    }
}

/// Whether the last piece is over.
fn is_whole(held: &VecDeque<Vec<u8>>, unit: Unit) -> bool {
    unit == Unit::Bytes || held.back().is_some_and(|line| line.ends_with(b"\n"))
}

fn hold(held: &mut VecDeque<Vec<u8>>, bytes: &[u8], unit: Unit) {
    if unit == Unit::Bytes {
        held.extend(bytes.iter().map(|byte| vec![*byte]));
        return;
    }
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        match held.back_mut() {
            Some(last) if !last.ends_with(b"\n") => last.extend_from_slice(piece),
            _ => held.push_back(piece.to_vec()),
        }
    }
}

pub(super) fn tail(args: &[String]) -> Result<Filtering, Failure> {
    let mut args = modern(args);
    if let Some(first) = args.first_mut().filter(|first| first.starts_with('+')) {
        *first = format!("-n{first}");
    }
    let options = Options::parse(
        &args,
        "n:c:qvfFs:",
        &[("lines", 'n'), ("bytes", 'c'), ("follow", 'f'), ("quiet", 'q')],
    )?;
    let unit = if options.last_of("nc") == Some('c') { Unit::Bytes } else { Unit::Lines };
    let value = options.value(if unit == Unit::Bytes { 'c' } else { 'n' }).unwrap_or("10");
    let headers = Headers::new(&options);
    let follow = (options.has('f') || options.has('F')) && !options.operands.is_empty();
    let (from, value) = match value.strip_prefix('+') {
        Some(value) => (true, value),
        None => (false, value.trim_start_matches('-')),
    };
    let count = count(value)?;
    let tail = Tail {
        unit,
        from,
        count,
        left: count.saturating_sub(1),
        held: VecDeque::new(),
        size: 0,
        headers,
        follow: if follow { options.operands.clone() } else { Vec::new() },
    };
    Ok(Filtering::new(tail, options.operands))
}

struct Tail {
    unit: Unit,
    /// `+5`: from the fifth on.
    from: bool,
    count: u64,
    left: u64,
    held: VecDeque<Vec<u8>>,
    size: u64,
    headers: Headers,
    follow: Vec<String>,
}

impl Tail {
    fn feed_from(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        while self.left > 0 && !bytes.is_empty() {
            if self.unit == Unit::Bytes {
                let length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                bytes = &bytes[length..];
                self.left -= length as u64;
            } else {
                match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        bytes = &bytes[end + 1..];
                        self.left -= 1;
                    }
                    None => bytes = &[],
                }
            }
        }
        out.write_all(bytes)
    }

    /// Keeps blocks for bytes and lines for lines, no more than are asked for.
    fn feed_last(&mut self, bytes: &[u8]) {
        if self.unit == Unit::Bytes {
            self.held.push_back(bytes.to_vec());
            self.size += bytes.len() as u64;
            while self
                .held
                .front()
                .is_some_and(|first| self.size - first.len() as u64 >= self.count)
            {
                self.size -= self.held.pop_front().map_or(0, |first| first.len() as u64);
            }
            return;
        }
        hold(&mut self.held, bytes, Unit::Lines);
        while self.held.len() as u64 > self.count {
            self.held.pop_front();
        }
    }
}

impl Filter for Tail {
    fn begin(&mut self, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        self.left = self.count.saturating_sub(1);
        self.size = 0;
        self.held.clear();
        self.headers.show(name, out)
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        if self.from {
            self.feed_from(bytes, out)?
        } else {
            self.feed_last(bytes)
        }
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut surplus = match self.unit {
            Unit::Bytes => self.size.saturating_sub(self.count),
            Unit::Lines => 0,
        };
        for piece in self.held.drain(..) {
            let skip = usize::try_from(surplus).unwrap_or(usize::MAX).min(piece.len());
            surplus -= skip as u64;
            out.write_all(&piece[skip..])?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        if !self.follow.is_empty() {
            follow(&self.follow, out)?;
        }
        Ok(0)
    }
}

/// `tail -f`: looks for more, once a second, until nobody reads it.
fn follow(names: &[String], out: &mut dyn Write) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut at: Vec<u64> =
        names.iter().map(|name| std::fs::metadata(name).map_or(0, |file| file.len())).collect();
    loop {
        out.flush()?;
        std::thread::sleep(Duration::from_secs(1));
        for (name, at) in names.iter().zip(&mut at) {
            let Ok(mut file) = std::fs::File::open(name) else { continue };
            let length = file.metadata().map_or(0, |file| file.len());
            if length < *at {
                *at = 0;
            }
            if length > *at {
                file.seek(SeekFrom::Start(*at))?;
                *at += io::copy(&mut file.take(length - *at), out)?;
            }
        }
    }
}
