//! `cut`, `fold`, `paste`.

use std::io::{self, Write};

use crate::call::{Call, Failure, Outcome};
use crate::filter::{ByLine, Filtering, Lines, Wants};
use crate::options::Options;
use crate::streams::read_line;

pub(super) fn cut(args: &[String]) -> Result<Filtering, Failure> {
    let long = [
        ("delimiter", 'd'),
        ("fields", 'f'),
        ("characters", 'c'),
        ("bytes", 'b'),
        ("only-delimited", 's'),
        ("output-delimiter", 'O'),
    ];
    let options = Options::parse(args, "d:f:c:b:snO:", &long)?;
    let (fields, list) = match (options.value('f'), options.value('c').or(options.value('b'))) {
        (Some(list), None) => (true, list),
        (None, Some(list)) => (false, list),
        _ => return Err(Failure::new("one of -f, -c and -b is needed")),
    };
    let delimiter = options.value('d').unwrap_or("\t").to_string();
    let joined = options.value('O').map_or_else(|| delimiter.clone(), str::to_string);
    let ranges = list.split(',').map(range).collect::<Option<Vec<_>>>();
    let ranges = ranges.ok_or_else(|| Failure::new(format!("invalid range '{list}'")))?;
    let cut = Cut {
        fields,
        bytes: options.has('b'),
        ranges,
        delimiter,
        joined,
        only_delimited: options.has('s'),
    };
    Ok(Filtering::new(ByLine::new(cut), options.operands))
}

fn range(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str, default: usize| {
        if text.is_empty() { Some(default) } else { text.parse().ok() }
    };
    let (low, high) = match text.split_once('-') {
        Some(("", "")) => return None,
        Some((low, high)) => (number(low, 1)?, number(high, usize::MAX)?),
        None => (text.parse().ok()?, text.parse().ok()?),
    };
    (low > 0 && high >= low).then_some((low, high))
}

struct Cut {
    fields: bool,
    bytes: bool,
    ranges: Vec<(usize, usize)>,
    delimiter: String,
    joined: String,
    only_delimited: bool,
}

impl Cut {
    fn has(&self, index: usize) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&(index + 1)))
    }
}

impl Lines for Cut {
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        if self.bytes {
            let kept = line.iter().enumerate().filter(|(i, _)| self.has(*i)).map(|(_, byte)| *byte);
            out.write_all(&kept.chain([b'\n']).collect::<Vec<u8>>())?;
            return Ok(Wants::More);
        }
        let text = String::from_utf8_lossy(line);
        if !self.fields {
            let kept: String =
                text.chars().enumerate().filter(|(i, _)| self.has(*i)).map(|(_, c)| c).collect();
            writeln!(out, "{kept}")?;
        } else if !text.contains(&self.delimiter) {
            if !self.only_delimited {
                writeln!(out, "{text}")?;
            }
        } else {
            let fields = text.split(&self.delimiter).enumerate();
            let kept: Vec<&str> =
                fields.filter(|(i, _)| self.has(*i)).map(|(_, field)| field).collect();
            writeln!(out, "{}", kept.join(&self.joined))?;
        }
        Ok(Wants::More)
    }
}

pub(super) fn fold(args: &[String]) -> Result<Filtering, Failure> {
    let options = Options::parse(args, "bsw:", &[("width", 'w')])?;
    let fold = Fold {
        width: options.number::<usize>('w')?.unwrap_or(80).max(1),
        at_spaces: options.has('s'),
    };
    Ok(Filtering::new(ByLine::new(fold), options.operands))
}

struct Fold {
    width: usize,
    at_spaces: bool,
}

impl Lines for Fold {
    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let chars: Vec<char> = String::from_utf8_lossy(line).chars().collect();
        let mut rest = &chars[..];
        while rest.len() > self.width {
            let space =
                rest[..self.width].iter().rposition(|c| *c == ' ').filter(|_| self.at_spaces);
            let end = space.map_or(self.width, |space| space + 1);
            writeln!(out, "{}", rest[..end].iter().collect::<String>())?;
            rest = &rest[end..];
        }
        writeln!(out, "{}", rest.iter().collect::<String>())?;
        Ok(Wants::More)
    }
}

pub(super) fn paste(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "d:s", &[])?;
    let (delimiters, _) = super::printf::unescape(options.value('d').unwrap_or("\t"));
    let delimiters: Vec<char> = String::from_utf8_lossy(&delimiters).chars().collect();
    let between = |i: usize| {
        delimiters.get(i % delimiters.len().max(1)).map(char::to_string).unwrap_or_default()
    };
    let names =
        if options.operands.is_empty() { vec!["-".to_string()] } else { options.operands.clone() };
    let inputs = names.iter().map(|name| call.open(name)).collect::<Result<Vec<_>, _>>()?;
    let next = |input: &crate::streams::In| -> Result<Option<String>, Failure> {
        let line = read_line(input)?;
        Ok(line.map(|line| {
            String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned()
        }))
    };
    if options.has('s') {
        for input in &inputs {
            let mut line = String::new();
            let mut count = 0;
            while let Some(text) = next(input)? {
                line =
                    if count == 0 { text } else { format!("{line}{}{text}", between(count - 1)) };
                count += 1;
            }
            writeln!(call.out(), "{line}")?;
        }
        return Ok(0);
    }
    loop {
        let lines = inputs.iter().map(next).collect::<Result<Vec<_>, _>>()?;
        if lines.iter().all(Option::is_none) {
            return Ok(0);
        }
        for (i, line) in lines.iter().enumerate() {
            let before = if i == 0 { String::new() } else { between(i - 1) };
            write!(call.out(), "{before}{}", line.as_deref().unwrap_or_default())?;
        }
        call.out().write_all(b"\n")?;
    }
}
