//! `wc`.

use std::io::{self, Write};

use crate::call::Failure;
use crate::filter::{Filter, Filtering, Wants};
use crate::options::Options;

#[derive(Clone, Copy, Default)]
struct Counts {
    lines: u64,
    words: u64,
    chars: u64,
    bytes: u64,
    longest: u64,
}

struct Wc {
    options: Vec<char>,
    several: bool,
    /// One column of one file is not padded.
    name: Option<String>,
    now: Counts,
    total: Counts,
    in_word: bool,
    line: u64,
}

pub(super) fn wc(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(
        args,
        "lwcmL",
        &[("lines", 'l'), ("words", 'w'), ("bytes", 'c'), ("chars", 'm')],
    )?;
    let mut shown: Vec<char> = "lwmcL".chars().filter(|letter| options.has(*letter)).collect();
    if shown.is_empty() {
        shown = vec!['l', 'w', 'c'];
    }
    let wc = Wc {
        options: shown,
        several: options.operands.len() > 1,
        name: None,
        now: Counts::default(),
        total: Counts::default(),
        in_word: false,
        line: 0,
    };
    Ok(Filtering::new(wc, options.operands))
}

impl Wc {
    fn show(&self, counts: Counts, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        let values: Vec<String> = self
            .options
            .iter()
            .map(|option| {
                let value = match option {
                    'l' => counts.lines,
                    'w' => counts.words,
                    'm' => counts.chars,
                    'c' => counts.bytes,
                    _ => counts.longest,
                };
                // As busybox sets them.
                if self.options.len() == 1 && !self.several {
                    value.to_string()
                } else {
                    format!("{value:9}")
                }
            })
            .collect();
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        writeln!(out, "{}{name}", values.join(" "))
    }
}

impl Filter for Wc {
    fn begin(&mut self, name: Option<&str>, _: &mut dyn Write) -> io::Result<()> {
        self.name = name.map(str::to_string);
        self.now = Counts::default();
        self.in_word = false;
        self.line = 0;
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        let now = &mut self.now;
        now.bytes += bytes.len() as u64;
        // What is asked for most needs no look at every byte, or only a short one.
        match self.options[..] {
            ['c'] => return Ok(Wants::More),
            ['l'] => {
                now.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                return Ok(Wants::More);
            }
            _ => {}
        }
        for byte in bytes {
            now.chars += u64::from(byte & 0xc0 != 0x80);
            let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12);
            now.words += u64::from(self.in_word && is_space);
            self.in_word = !is_space;
            if *byte == b'\n' {
                now.lines += 1;
                now.longest = now.longest.max(self.line);
                self.line = 0;
            } else {
                self.line += u64::from(byte & 0xc0 != 0x80);
            }
        }
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.now.words += u64::from(self.in_word);
        self.now.longest = self.now.longest.max(self.line);
        let (now, total) = (self.now, &mut self.total);
        total.lines += now.lines;
        total.words += now.words;
        total.chars += now.chars;
        total.bytes += now.bytes;
        total.longest = total.longest.max(now.longest);
        self.show(now, self.name.as_deref(), out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        if self.several {
            self.show(self.total, Some("total"), out)?;
        }
        Ok(0)
    }
}
