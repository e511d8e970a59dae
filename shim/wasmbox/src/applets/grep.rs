//! `grep`, `egrep`, `fgrep`.

use std::io::{self, Write};

use regex_lite::Regex;

use super::regex::{Dialect, compile};
use crate::call::Failure;
use crate::filter::{ByLine, Filtering, Lines, Wants};
use crate::options::Options;

pub(super) fn grep(args: &[String]) -> Result<Filtering, Failure> {
    filter(args, Dialect::Basic)
}

pub(super) fn egrep(args: &[String]) -> Result<Filtering, Failure> {
    filter(args, Dialect::Extended)
}

pub(super) fn fgrep(args: &[String]) -> Result<Filtering, Failure> {
    filter(args, Dialect::Fixed)
}

fn filter(args: &[String], dialect: Dialect) -> Result<Filtering, Failure> {
    let long = [
        ("ignore-case", 'i'),
        ("invert-match", 'v'),
        ("quiet", 'q'),
        ("silent", 'q'),
        ("count", 'c'),
        ("extended-regexp", 'E'),
        ("fixed-strings", 'F'),
        ("line-number", 'n'),
        ("only-matching", 'o'),
        ("recursive", 'r'),
        ("no-messages", 's'),
        ("word-regexp", 'w'),
        ("line-regexp", 'x'),
        ("files-with-matches", 'l'),
        ("regexp", 'e'),
        ("file", 'f'),
        ("max-count", 'm'),
        ("no-filename", 'h'),
        ("with-filename", 'H'),
        ("color", 'K'),
        ("after-context", 'A'),
        ("before-context", 'B'),
        ("context", 'C'),
        ("text", 'a'),
    ];
    let mut options = Options::parse(args, "EFGPe:f:ivqclLnhHosrRwxm:A:B:C:aKz", &long)?;
    let dialect = match options.last_of("EFGP") {
        Some('E' | 'P') => Dialect::Extended,
        Some('F') => Dialect::Fixed,
        Some('G') => Dialect::Basic,
        _ => dialect,
    };
    let mut patterns: Vec<String> =
        options.values('e').flat_map(|text| text.split('\n')).map(str::to_string).collect();
    for name in options.values('f') {
        let text = std::fs::read(name).map_err(|error| Failure::of(name, &error))?;
        patterns.extend(String::from_utf8_lossy(&text).lines().map(str::to_string));
    }
    if !options.has('e') && !options.has('f') {
        if options.operands.is_empty() {
            return Err(Failure::Said("which pattern?".to_string(), 2));
        }
        patterns = options.operands.remove(0).split('\n').map(str::to_string).collect();
    }
    let recursive = options.has('r') || options.has('R');
    let mut files = options.operands.clone();
    if recursive {
        let roots =
            if files.is_empty() { vec![".".to_string()] } else { std::mem::take(&mut files) };
        for root in &roots {
            super::tree::files(root, &mut files);
        }
    }
    let regexes = patterns.iter().map(|pattern| compile(pattern, dialect, options.has('i')));
    let names = !options.has('h') && (options.has('H') || recursive || files.len() > 1);
    let context: u64 = options.number('C')?.unwrap_or(0);
    let grep = Grep {
        regexes: regexes.collect::<Result<_, _>>()?,
        whole: options.has('x'),
        words: options.has('w'),
        invert: options.has('v'),
        show: match options.last_of("qclLo") {
            _ if options.has('q') => Show::Nothing,
            Some('c') => Show::Count,
            Some('l') => Show::Name,
            Some('L') => Show::NameWithout,
            Some('o') => Show::Matches,
            _ => Show::Lines,
        },
        numbers: options.has('n'),
        names,
        most: options.number('m')?.unwrap_or(u64::MAX),
        after: options.number('A')?.unwrap_or(context),
        before: usize::try_from(options.number('B')?.unwrap_or(context)).unwrap_or(usize::MAX),
        name: String::new(),
        number: 0,
        found: 0,
        any: false,
        held: Vec::new(),
        owed: 0,
        last_shown: 0,
    };
    Ok(Filtering::new(ByLine::new(grep).ending_with_nul(options.has('z')), files))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Lines,
    Matches,
    Count,
    Name,
    NameWithout,
    Nothing,
}

struct Grep {
    regexes: Vec<Regex>,
    whole: bool,
    words: bool,
    invert: bool,
    show: Show,
    numbers: bool,
    names: bool,
    most: u64,
    after: u64,
    before: usize,
    name: String,
    number: u64,
    found: u64,
    any: bool,
    /// Lines before a match, should one come.
    held: Vec<(u64, Vec<u8>)>,
    /// Lines after a match that are still to be shown.
    owed: u64,
    last_shown: u64,
}

impl Grep {
    /// What matches in a line.
    fn find<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut found = Vec::new();
        for regex in &self.regexes {
            let fits = |at: &regex_lite::Match<'_>| {
                let is_word = |c: char| c == '_' || c.is_alphanumeric();
                let alone = !text[..at.start()].ends_with(is_word)
                    && !text[at.end()..].starts_with(is_word);
                (!self.whole || at.as_str().len() == text.len()) && (!self.words || alone)
            };
            found.extend(regex.find_iter(text).filter(fits).map(|at| at.as_str()));
            if !found.is_empty() && self.show != Show::Matches {
                break;
            }
        }
        found
    }

    fn write(
        &mut self,
        number: u64,
        line: &[u8],
        sign: char,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let context = self.after > 0 || self.before > 0;
        if context && self.last_shown > 0 && number > self.last_shown + 1 {
            out.write_all(b"--\n")?;
        }
        self.last_shown = number;
        if self.names {
            write!(out, "{}{sign}", self.name)?;
        }
        if self.numbers {
            write!(out, "{number}{sign}")?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")
    }
}

impl Lines for Grep {
    fn begin(&mut self, name: Option<&str>, _: &mut dyn Write) -> io::Result<()> {
        self.name = name.filter(|name| *name != "-").unwrap_or("(standard input)").to_string();
        (self.number, self.found, self.owed, self.last_shown) = (0, 0, 0, 0);
        self.held.clear();
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        self.number += 1;
        let text = String::from_utf8_lossy(line);
        let found = self.find(&text);
        if found.is_empty() != self.invert {
            if self.owed > 0 {
                self.owed -= 1;
                self.write(self.number, line, '-', out)?;
            } else if self.before > 0 {
                self.held.push((self.number, line.to_vec()));
                if self.held.len() > self.before {
                    self.held.remove(0);
                }
            }
            return Ok(Wants::More);
        }
        self.found += 1;
        self.any = true;
        match self.show {
            Show::Nothing | Show::Name | Show::NameWithout => return Ok(Wants::Enough),
            Show::Count => {}
            Show::Matches => {
                for matched in found.iter().filter(|matched| !matched.is_empty()) {
                    self.write(self.number, matched.as_bytes(), ':', out)?;
                }
            }
            Show::Lines => {
                for (number, line) in std::mem::take(&mut self.held) {
                    self.write(number, &line, '-', out)?;
                }
                self.write(self.number, line, ':', out)?;
                self.owed = self.after;
            }
        }
        Ok(if self.found >= self.most { Wants::Enough } else { Wants::More })
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self.show {
            Show::Count if self.names => writeln!(out, "{}:{}", self.name, self.found),
            Show::Count => writeln!(out, "{}", self.found),
            Show::Name if self.found > 0 => writeln!(out, "{}", self.name),
            Show::NameWithout if self.found == 0 => writeln!(out, "{}", self.name),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<i32> {
        Ok(i32::from(!self.any))
    }
    fn trouble(&self) -> i32 {
        2
    }
}
