//! `xargs`: words of stdin become arguments.

use crate::call::{Call, Failure, Outcome};
use crate::options::{Options, number};

pub(super) fn xargs(call: &Call<'_>) -> Outcome {
    let long = [
        ("null", '0'),
        ("no-run-if-empty", 'r'),
        ("max-args", 'n'),
        ("replace", 'I'),
        ("max-lines", 'L'),
        ("max-procs", 'P'),
        ("delimiter", 'd'),
        ("verbose", 't'),
    ];
    let options = Options::parse(call.args, "+0rtn:I:L:P:s:d:E:x", &long)?;
    let command = if options.operands.is_empty() {
        vec!["echo".to_string()]
    } else {
        options.operands.clone()
    };
    let text = String::from_utf8_lossy(&call.read("-")?).into_owned();
    let delimiter = match options.value('d') {
        _ if options.has('0') => Some('\0'),
        Some(text) => String::from_utf8_lossy(&super::printf::unescape(text).0).chars().next(),
        None => None,
    };
    let replace = options.value('I');
    let words = match delimiter {
        Some(delimiter) => {
            let text = text.strip_suffix(delimiter).unwrap_or(&text);
            if text.is_empty() {
                Vec::new()
            } else {
                text.split(delimiter).map(str::to_string).collect()
            }
        }
        None if replace.is_some() || options.has('L') => text
            .lines()
            .map(|line| line.trim_start().to_string())
            .filter(|line| !line.is_empty())
            .collect(),
        None => words(&text)?,
    };
    let most = match (replace, options.value('n').or(options.value('L'))) {
        (Some(_), _) => 1,
        (None, Some(text)) => number::<usize>(text)?.max(1),
        (None, None) => usize::MAX,
    };
    let mut status = 0;
    if words.is_empty() {
        return if options.has('r') || replace.is_some() {
            Ok(0)
        } else {
            one(call, &options, &command, &mut status).map(|()| status)
        };
    }
    for group in words.chunks(most.min(words.len())) {
        let line: Vec<String> = match replace {
            Some(mark) => command.iter().map(|word| word.replace(mark, &group[0])).collect(),
            None if options.has('L') => {
                let split =
                    group.iter().flat_map(|line| line.split_whitespace()).map(str::to_string);
                command.iter().cloned().chain(split).collect()
            }
            None => command.iter().chain(group).cloned().collect(),
        };
        one(call, &options, &line, &mut status)?;
        if status == 124 {
            break;
        }
    }
    Ok(status)
}

/// Runs a line; what its exit code means for ours is POSIX's.
fn one(
    call: &Call<'_>,
    options: &Options,
    line: &[String],
    status: &mut i32,
) -> Result<(), Failure> {
    if options.has('t') {
        call.streams.stderr.borrow_mut().write_all(format!("{}\n", line.join(" ")).as_bytes())?;
    }
    match call.run(line)? {
        0 => {}
        255 => *status = 124,
        code @ (126 | 127) => {
            return Err(Failure::Said(format!("{}: cannot be run", line[0]), code));
        }
        _ => *status = 123,
    }
    Ok(())
}

/// Blanks cut words, quotes and backslashes keep them together.
fn words(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\n') | None => return Err(Failure::new(format!("unmatched {c}"))),
                        Some(inner) => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
