//! `read`, `getopts`: words taken apart.

use super::super::{Run, Shell};
use crate::call::Failure;
use crate::streams::read_line;

pub(super) fn read(shell: &mut Shell, args: &[String]) -> Run {
    let options = match crate::options::Options::parse(args, "+rp:n:t:s", &[]) {
        Ok(options) => options,
        Err(failure) => return shell.ended("read", Err(failure)),
    };
    if let Some(prompt) = options.value('p') {
        let _ = shell.streams().stderr.borrow_mut().write_all(prompt.as_bytes());
    }
    let mut text: Vec<(char, bool)> = Vec::new();
    let mut status;
    loop {
        let line = match read_line(&shell.streams().stdin) {
            Ok(line) => line.unwrap_or_default(),
            Err(error) => return shell.ended("read", Err(Failure::from(error))),
        };
        status = i32::from(line.last() != Some(&b'\n'));
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let goes_on = unescape(line, options.has('r'), &mut text);
        if !goes_on || status == 1 {
            break;
        }
    }
    let separators = shell.value("IFS").unwrap_or_default();
    let mut names = options.operands.clone();
    if names.is_empty() {
        names.push("REPLY".to_string());
    }
    for (name, value) in names.iter().zip(divide(&text, &separators, names.len())) {
        shell.set(name, &value)?;
    }
    Ok(status)
}

/// Takes the backslashes out of a line; whether it goes on with the next.
fn unescape(line: &str, raw: bool, to: &mut Vec<(char, bool)>) -> bool {
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\\' || raw {
            to.push((c, false));
            continue;
        }
        match chars.next() {
            Some(c) => to.push((c, true)),
            None => return true,
        }
    }
    false
}

/// As many fields as there are names; the last one takes the rest.
fn divide(text: &[(char, bool)], separators: &str, count: usize) -> Vec<String> {
    let is_separator = |c: &(char, bool)| !c.1 && separators.contains(c.0);
    let is_blank = |c: &(char, bool)| is_separator(c) && c.0.is_whitespace();
    let mut rest = text;
    let skip = |rest: &mut &[(char, bool)]| {
        while rest.first().is_some_and(is_blank) {
            *rest = &rest[1..];
        }
    };
    skip(&mut rest);
    let mut fields = Vec::new();
    while fields.len() + 1 < count {
        let end = rest.iter().position(is_separator).unwrap_or(rest.len());
        fields.push(rest[..end].iter().map(|c| c.0).collect());
        rest = &rest[end..];
        skip(&mut rest);
        if rest.first().is_some_and(|c| is_separator(c) && !is_blank(c)) {
            rest = &rest[1..];
            skip(&mut rest);
        }
    }
    let end = rest.iter().rposition(|c| !is_blank(c)).map_or(0, |last| last + 1);
    fields.push(rest[..end].iter().map(|c| c.0).collect());
    fields
}

pub(super) fn getopts(shell: &mut Shell, args: &[String]) -> Run {
    let [spec, name, args @ ..] = args else {
        return Err(shell.fatal("getopts: which options?"));
    };
    let args = if args.is_empty() { shell.positional.clone() } else { args.to_vec() };
    let index =
        shell.value("OPTIND").and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).max(1);
    let letter_at = shell.letter.max(1);
    let word: Vec<char> =
        args.get(index - 1).map(|word| word.chars().collect()).unwrap_or_default();
    if word.len() < 2 || word[0] != '-' || word == ['-', '-'] {
        let next = if word == ['-', '-'] { index + 1 } else { index };
        shell.set("OPTIND", &next.to_string())?;
        shell.set(name, "?")?;
        return Ok(1);
    }
    let letter = word[letter_at.min(word.len() - 1)];
    let is_last = letter_at + 1 >= word.len();
    let silent = spec.starts_with(':');
    let known = spec.trim_start_matches(':').find(letter).filter(|_| letter != ':');
    let takes = known
        .is_some_and(|at| spec.trim_start_matches(':')[at + letter.len_utf8()..].starts_with(':'));
    let (mut next, mut next_letter) = if is_last { (index + 1, 0) } else { (index, letter_at + 1) };
    let mut found = letter.to_string();
    shell.variables.remove("OPTARG");
    if known.is_none() {
        if silent {
            shell.set("OPTARG", &found)?;
        } else {
            shell.say(&format!("Illegal option -{letter}"));
        }
        found = "?".to_string();
    } else if takes {
        let value: Option<String> = if is_last {
            next += 1;
            args.get(index).cloned()
        } else {
            next += 1;
            Some(word[letter_at + 1..].iter().collect())
        };
        next_letter = 0;
        match value {
            Some(value) => shell.set("OPTARG", &value)?,
            None if silent => {
                shell.set("OPTARG", &found)?;
                found = ":".to_string();
            }
            None => {
                shell.say(&format!("No arg for -{letter} option"));
                found = "?".to_string();
            }
        }
    }
    shell.set("OPTIND", &next.to_string())?;
    shell.letter = next_letter;
    shell.set(name, &found)?;
    Ok(0)
}
