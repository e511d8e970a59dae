//! `sort`, `uniq`.

use std::cmp::Ordering;
use std::io::{self, Write};

use crate::call::Failure;
use crate::filter::{ByLine, Filtering, Lines, Wants};
use crate::options::Options;

pub(super) fn sort(args: &[String]) -> Result<Filtering, Failure> {
    let long = [
        ("reverse", 'r'),
        ("numeric-sort", 'n'),
        ("unique", 'u'),
        ("key", 'k'),
        ("field-separator", 't'),
        ("output", 'o'),
        ("version-sort", 'V'),
        ("human-numeric-sort", 'h'),
    ];
    let options = Options::parse(args, "nrgufbdcsVhzk:t:o:T:S:m", &long)?;
    let mut keys = Vec::new();
    let default =
        How::of(&"nrgfbdVh".chars().filter(|letter| options.has(*letter)).collect::<String>());
    for text in options.values('k') {
        keys.push(
            Key::parse(text, default)
                .ok_or_else(|| Failure::new(format!("bad field specification {text}")))?,
        );
    }
    let sort = Sort {
        keys,
        default,
        separator: options.value('t').and_then(|text| text.chars().next()),
        unique: options.has('u'),
        stable: options.has('s'),
        check: options.has('c'),
        output: options.value('o').map(str::to_string),
        lines: Vec::new(),
    };
    Ok(Filtering::new(ByLine::new(sort), options.operands))
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct How {
    numeric: bool,
    human: bool,
    version: bool,
    reverse: bool,
    fold: bool,
    dictionary: bool,
    blanks: bool,
}

impl How {
    fn of(letters: &str) -> How {
        let has = |letter| letters.contains(letter);
        How {
            numeric: has('n') || has('g'),
            human: has('h'),
            version: has('V'),
            reverse: has('r'),
            fold: has('f'),
            dictionary: has('d'),
            blanks: has('b'),
        }
    }

    fn compare(self, left: &str, right: &str) -> Ordering {
        let (left, right) = match self.blanks {
            true => (left.trim_start(), right.trim_start()),
            false => (left, right),
        };
        let order = if self.numeric {
            number(left).total_cmp(&number(right))
        } else if self.human {
            human(left).total_cmp(&human(right))
        } else if self.version {
            versions(left, right)
        } else if self.fold || self.dictionary {
            let plain = |text: &str| -> Vec<char> {
                let kept = text
                    .chars()
                    .filter(|c| !self.dictionary || c.is_alphanumeric() || c.is_whitespace());
                if self.fold { kept.flat_map(char::to_uppercase).collect() } else { kept.collect() }
            };
            plain(left).cmp(&plain(right))
        } else {
            left.cmp(right)
        };
        if self.reverse { order.reverse() } else { order }
    }
}

fn number(text: &str) -> f64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with('-'));
    let length = text[sign..]
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(text.len(), |end| end + sign);
    text[..length].parse().unwrap_or(0.0)
}

fn human(text: &str) -> f64 {
    let suffix = text
        .trim_start()
        .trim_start_matches(|c: char| c.is_ascii_digit() || "-.".contains(c))
        .chars()
        .next();
    let power = suffix
        .and_then(|suffix| "KMGTPE".find(suffix.to_ascii_uppercase()))
        .map_or(0, |at| at as i32 + 1);
    number(text) * 1024f64.powi(power)
}

/// Digits by their value, the rest as it is.
fn versions(left: &str, right: &str) -> Ordering {
    let pieces = |text: &str| -> Vec<(String, u64)> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let start = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let end = rest[start..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(rest.len(), |end| start + end);
            pieces.push((rest[..start].to_string(), rest[start..end].parse().unwrap_or(0)));
            rest = &rest[end..];
        }
        pieces
    };
    pieces(left).cmp(&pieces(right))
}

/// `-k 2,3n`: from the second field to the third.
struct Key {
    from: (usize, usize),
    to: Option<(usize, usize)>,
    how: How,
}

impl Key {
    fn parse(text: &str, default: How) -> Option<Key> {
        let position = |text: &str| -> Option<((usize, usize), String)> {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let (field, character) = digits.split_once('.').unwrap_or((digits, "0"));
            Some(((field.parse().ok()?, character.parse().ok()?), text[digits.len()..].to_string()))
        };
        let (from, to) = match text.split_once(',') {
            Some((from, to)) => (position(from)?, Some(position(to)?)),
            None => (position(text)?, None),
        };
        let letters = format!("{}{}", from.1, to.as_ref().map_or("", |to| to.1.as_str()));
        let how = if letters.is_empty() { default } else { How::of(&letters) };
        (from.0.0 > 0).then_some(Key { from: from.0, to: to.map(|to| to.0), how })
    }

    fn of<'t>(&self, line: &'t str, separator: Option<char>) -> &'t str {
        let fields = fields(line, separator);
        let Some((start, end)) = fields.get(self.from.0 - 1).copied() else { return "" };
        let forward = |start: usize, end: usize, characters: usize| {
            line[start..end].char_indices().nth(characters).map_or(end, |(at, _)| start + at)
        };
        let start = forward(start, end, self.from.1.saturating_sub(1));
        let end = match self.to {
            None => line.len(),
            Some((field, character)) => match fields.get(field.saturating_sub(1)) {
                None => line.len(),
                Some((_, end)) if character == 0 => *end,
                Some((start, end)) => forward(*start, *end, character),
            },
        };
        line.get(start..end).unwrap_or("")
    }
}

/// Where fields are. Without a separator, blanks in front of a field belong to it.
fn fields(line: &str, separator: Option<char>) -> Vec<(usize, usize)> {
    let mut fields = Vec::new();
    let mut start = 0;
    match separator {
        Some(separator) => {
            for (at, found) in line.match_indices(separator) {
                fields.push((start, at));
                start = at + found.len();
            }
        }
        None => {
            let mut in_word = false;
            for (at, c) in line.char_indices() {
                let is_blank = c == ' ' || c == '\t';
                if is_blank && in_word {
                    fields.push((start, at));
                    start = at;
                }
                in_word = !is_blank;
            }
        }
    }
    fields.push((start, line.len()));
    fields
}

struct Sort {
    keys: Vec<Key>,
    default: How,
    separator: Option<char>,
    unique: bool,
    stable: bool,
    check: bool,
    output: Option<String>,
    lines: Vec<String>,
}

impl Sort {
    fn by_keys(&self, left: &str, right: &str) -> Ordering {
        if self.keys.is_empty() {
            return self.default.compare(left, right);
        }
        let compare = |key: &Key| {
            key.how.compare(key.of(left, self.separator), key.of(right, self.separator))
        };
        self.keys.iter().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn compare(&self, left: &str, right: &str) -> Ordering {
        let order = self.by_keys(left, right);
        if order.is_ne() || self.stable || self.unique {
            return order;
        }
        if self.default.reverse { right.cmp(left) } else { left.cmp(right) }
    }
}

impl Lines for Sort {
    fn line(&mut self, line: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        self.lines.push(String::from_utf8_lossy(line).into_owned());
        Ok(Wants::More)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        let mut lines = std::mem::take(&mut self.lines);
        if self.check {
            let sorted = |pair: &[String]| match self.compare(&pair[0], &pair[1]) {
                Ordering::Less => true,
                Ordering::Equal => !self.unique,
                Ordering::Greater => false,
            };
            return Ok(i32::from(!lines.windows(2).all(sorted)));
        }
        lines.sort_by(|left, right| self.compare(left, right));
        if self.unique {
            lines.dedup_by(|next, first| self.by_keys(first, next).is_eq());
        }
        let mut file =
            self.output.as_ref().map(std::fs::File::create).transpose()?.map(io::BufWriter::new);
        for line in lines {
            match &mut file {
                Some(file) => writeln!(file, "{line}")?,
                None => writeln!(out, "{line}")?,
            }
        }
        file.map_or(Ok(()), |mut file| file.flush())?;
        Ok(0)
    }

    fn trouble(&self) -> i32 {
        2
    }
}

pub(super) fn uniq(args: &[String]) -> Result<Filtering, Failure> {
    let options =
        Options::parse(args, "cduif:s:w:", &[("count", 'c'), ("repeated", 'd'), ("unique", 'u')])?;
    let uniq = Uniq {
        counts: options.has('c'),
        repeated: options.has('d'),
        once: options.has('u'),
        ignore_case: options.has('i'),
        fields: options.number('f')?.unwrap_or(0),
        chars: options.number('s')?.unwrap_or(0),
        width: options.number('w')?.unwrap_or(usize::MAX),
        last: None,
        output: options.operands.get(1).map(std::fs::File::create).transpose()?,
    };
    Ok(Filtering::new(ByLine::new(uniq), options.operands.into_iter().take(1).collect()))
}

struct Uniq {
    counts: bool,
    repeated: bool,
    once: bool,
    ignore_case: bool,
    fields: usize,
    chars: usize,
    width: usize,
    last: Option<(String, u64)>,
    output: Option<std::fs::File>,
}

impl Uniq {
    /// What of a line is compared.
    fn key(&self, line: &str) -> String {
        let mut rest = line;
        for _ in 0..self.fields {
            rest = rest.trim_start_matches([' ', '\t']);
            rest = &rest[rest.find([' ', '\t']).unwrap_or(rest.len())..];
        }
        let key: String = rest.chars().skip(self.chars).take(self.width).collect();
        if self.ignore_case { key.to_lowercase() } else { key }
    }

    fn show(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some((line, count)) = self.last.take() else { return Ok(()) };
        if self.repeated && count < 2 || self.once && count > 1 {
            return Ok(());
        }
        let out: &mut dyn Write = match &mut self.output {
            Some(file) => file,
            None => out,
        };
        if self.counts { writeln!(out, "{count:7} {line}") } else { writeln!(out, "{line}") }
    }
}

impl Lines for Uniq {
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let line = String::from_utf8_lossy(line).into_owned();
        let same = self.last.as_ref().is_some_and(|(last, _)| self.key(last) == self.key(&line));
        match &mut self.last {
            Some((_, count)) if same => *count += 1,
            _ => {
                self.show(out)?;
                self.last = Some((line, 1));
            }
        }
        Ok(Wants::More)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        self.show(out)?;
        Ok(0)
    }
}
