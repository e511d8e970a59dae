//! `sed`.

mod script;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

use regex_lite::Regex;

use super::regex::Dialect;
use crate::call::Failure;
use crate::filter::{ByLine, Filtering, Lines, Wants};
use crate::options::Options;
use script::{Action, Address, Command, Piece, Range, Substitution};

pub(super) fn sed(args: &[String]) -> Result<Filtering, Failure> {
    let long = [
        ("quiet", 'n'),
        ("silent", 'n'),
        ("regexp-extended", 'E'),
        ("expression", 'e'),
        ("file", 'f'),
        ("in-place", 'i'),
    ];
    // `-i.bak` names no separate word, which getopt cannot say.
    let in_place = |arg: &&String| arg.starts_with("-i") && arg.len() > 2;
    if let Some(arg) = args.iter().find(in_place) {
        return Err(Failure::new(format!("{arg}: sed -i keeps no copy here")));
    }
    let mut options = Options::parse(args, "nrEe:f:isu", &long)?;
    let dialect =
        if options.has('r') || options.has('E') { Dialect::Extended } else { Dialect::Basic };
    let mut text: Vec<String> = options.values('e').map(str::to_string).collect();
    for name in options.values('f') {
        let file = std::fs::read(name).map_err(|error| Failure::of(name, &error))?;
        text.push(String::from_utf8_lossy(&file).into_owned());
    }
    if text.is_empty() {
        if options.operands.is_empty() {
            return Err(Failure::new("which script?"));
        }
        text.push(options.operands.remove(0));
    }
    let script = script::parse(&text.join("\n"), dialect)?;
    let looks_ahead = script.commands.iter().any(|command| {
        matches!(command.action, Action::Next | Action::Append | Action::DeleteFirst)
    });
    let sed = Sed {
        commands: script.commands,
        labels: script.labels,
        quiet: options.has('n'),
        in_place: options.has('i').then(Vec::new),
        name: String::new(),
        waiting: VecDeque::new(),
        looks_ahead,
        number: 0,
        space: String::new(),
        hold: String::new(),
        appended: Vec::new(),
        last_regex: None,
        files: Vec::new(),
        status: None,
        closed: false,
    };
    Ok(Filtering::new(ByLine::new(sed), options.operands))
}

struct Sed {
    commands: Vec<Command>,
    labels: Vec<(String, usize)>,
    quiet: bool,
    /// With `-i`: what the file will be.
    in_place: Option<Vec<u8>>,
    name: String,
    /// Lines that have come and are not used yet: the last line is known when there are no more.
    waiting: VecDeque<String>,
    /// The script asks for lines itself, and gets them when all are there.
    looks_ahead: bool,
    number: u64,
    space: String,
    hold: String,
    /// What `a` and `r` put behind this line.
    appended: Vec<u8>,
    last_regex: Option<Regex>,
    files: Vec<(String, File)>,
    status: Option<i32>,
    closed: bool,
}

/// What a cycle ends with.
enum Then {
    NextCycle,
    /// `D`: the same pattern space again.
    SameSpace,
    Quit,
}

impl Lines for Sed {
    fn begin(&mut self, name: Option<&str>, _: &mut dyn Write) -> io::Result<()> {
        self.name = name.unwrap_or_default().to_string();
        if self.in_place.is_some() {
            self.number = 0;
            self.closed = false;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        if self.status.is_some() {
            return Ok(Wants::Enough);
        }
        self.waiting.push_back(String::from_utf8_lossy(line).into_owned());
        if !self.looks_ahead && self.waiting.len() > 1 {
            self.cycles(1, out)?;
        }
        Ok(if self.status.is_some() { Wants::Enough } else { Wants::More })
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.in_place.is_none() {
            return Ok(());
        }
        self.finish(out)?;
        let content = self.in_place.replace(Vec::new()).unwrap_or_default();
        std::fs::write(&self.name, content)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        self.closed = true;
        self.cycles(0, out)?;
        Ok(self.status.unwrap_or(0))
    }
}

impl Sed {
    /// Works until no more than `keep` lines wait.
    fn cycles(&mut self, keep: usize, out: &mut dyn Write) -> io::Result<()> {
        let mut same_space = false;
        while self.status.is_none() && (same_space || self.waiting.len() > keep) {
            if !same_space {
                self.space = self.waiting.pop_front().unwrap_or_default();
                self.number += 1;
            }
            let then = self.cycle(out)?;
            self.flush_appended(out)?;
            same_space = matches!(then, Then::SameSpace);
            if let Then::Quit = then {
                self.waiting.clear();
            }
        }
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        match &mut self.in_place {
            Some(content) => {
                content.extend_from_slice(bytes);
                Ok(())
            }
            None => out.write_all(bytes),
        }
    }

    fn print(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let line = format!("{}\n", self.space);
        self.emit(line.as_bytes(), out)
    }

    fn flush_appended(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let appended = std::mem::take(&mut self.appended);
        self.emit(&appended, out)
    }

    fn is_last(&self) -> bool {
        self.closed && self.waiting.is_empty()
    }

    fn cycle(&mut self, out: &mut dyn Write) -> io::Result<Then> {
        let mut at = 0;
        let mut substituted = false;
        while at < self.commands.len() {
            let selected = self.selects(at);
            let index = at;
            at += 1;
            if !selected {
                if let Action::Block(end) = self.commands[index].action {
                    at = end;
                }
                continue;
            }
            match &self.commands[index].action {
                Action::Block(_) | Action::End | Action::Label => {}
                Action::Delete => return Ok(Then::NextCycle),
                Action::DeleteFirst => match self.space.find('\n') {
                    None => return Ok(Then::NextCycle),
                    Some(end) => {
                        self.space.drain(..=end);
                        return Ok(Then::SameSpace);
                    }
                },
                Action::Print => self.print(out)?,
                Action::PrintFirst => {
                    let line = format!("{}\n", self.space.split('\n').next().unwrap_or_default());
                    self.emit(line.as_bytes(), out)?;
                }
                Action::Number => {
                    let line = format!("{}\n", self.number);
                    self.emit(line.as_bytes(), out)?;
                }
                Action::List => {
                    let line = format!("{}$\n", self.space.escape_default());
                    self.emit(line.as_bytes(), out)?;
                }
                Action::Next => {
                    // Without a next line, `n` prints and ends (GNU, busybox).
                    if !self.quiet {
                        self.print(out)?;
                    }
                    self.flush_appended(out)?;
                    let Some(line) = self.waiting.pop_front() else { return Ok(Then::NextCycle) };
                    self.space = line;
                    self.number += 1;
                }
                Action::Append => match self.waiting.pop_front() {
                    Some(line) => {
                        self.space.push('\n');
                        self.space.push_str(&line);
                        self.number += 1;
                    }
                    None => break,
                },
                Action::Quit { print, status } => {
                    let print = *print;
                    self.status = Some(*status);
                    if print && !self.quiet {
                        self.print(out)?;
                    }
                    return Ok(Then::Quit);
                }
                Action::Hold { append: false } => self.hold = self.space.clone(),
                Action::Hold { append: true } => {
                    self.hold = format!("{}\n{}", self.hold, self.space)
                }
                Action::Get { append: false } => self.space = self.hold.clone(),
                Action::Get { append: true } => {
                    self.space = format!("{}\n{}", self.space, self.hold)
                }
                Action::Exchange => std::mem::swap(&mut self.space, &mut self.hold),
                Action::Text(letter, text) => {
                    let (letter, text) = (*letter, text.clone());
                    match letter {
                        'a' => self.appended.extend(text.into_bytes()),
                        'i' => self.emit(text.as_bytes(), out)?,
                        _ => {
                            // A range is replaced once, at its end.
                            let command = &self.commands[index];
                            if command.to.is_none()
                                || command.negated
                                || command.range == Range::Outside
                            {
                                self.emit(text.as_bytes(), out)?;
                            }
                            return Ok(Then::NextCycle);
                        }
                    }
                }
                Action::Translate(pairs) => {
                    let to = |c: char| {
                        pairs.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to)
                    };
                    self.space = self.space.chars().map(to).collect();
                }
                Action::Substitute(_) => substituted |= self.substitute(index, out)?,
                Action::Branch(kind, label) => {
                    let jumps = match kind {
                        'b' => true,
                        't' => std::mem::take(&mut substituted),
                        _ => !std::mem::take(&mut substituted),
                    };
                    if jumps {
                        let found = self.labels.iter().find(|(known, _)| known == label);
                        at = found.map_or(self.commands.len(), |(_, at)| *at);
                    }
                }
                Action::ReadFile(name) => {
                    if let Ok(content) = std::fs::read(name) {
                        self.appended.extend(content);
                    }
                }
                Action::WriteFile(name) => {
                    let (name, line) = (name.clone(), format!("{}\n", self.space));
                    self.write_file(&name, line.as_bytes(), out)?;
                }
            }
        }
        if !self.quiet {
            self.print(out)?;
        }
        Ok(Then::NextCycle)
    }

    fn write_file(&mut self, name: &str, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if name == "/dev/stdout" {
            return out.write_all(bytes);
        }
        if !self.files.iter().any(|(known, _)| known == name) {
            self.files.push((name.to_string(), File::create(name)?));
        }
        match self.files.iter_mut().find(|(known, _)| known == name) {
            Some((_, file)) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    fn selects(&mut self, index: usize) -> bool {
        let (number, last) = (self.number, self.is_last());
        let command = &mut self.commands[index];
        let mut holds = |address: &Address| match address {
            Address::Line(line) => number == *line,
            Address::Step(first, 0) => number == *first,
            Address::Step(first, step) => {
                number >= *first && (number - first).is_multiple_of(*step)
            }
            Address::Last => last,
            Address::After(_) => false,
            Address::Matches(regex) => {
                if regex.is_some() {
                    self.last_regex = regex.clone();
                }
                self.last_regex.as_ref().is_some_and(|regex| regex.is_match(&self.space))
            }
        };
        let selected = match (&command.from, &command.to) {
            (None, _) => true,
            (Some(from), None) => holds(from),
            (Some(from), Some(to)) => match command.range {
                Range::Outside => {
                    let begins = holds(from) || matches!(from, Address::Line(0)) && number == 1;
                    if begins {
                        let over = match to {
                            Address::Line(line) => *line <= number,
                            Address::After(count) => *count == 0,
                            Address::Last => last,
                            to if matches!(from, Address::Line(0)) => holds(to),
                            _ => false,
                        };
                        command.range =
                            if over { Range::Outside } else { Range::Inside { since: number } };
                    }
                    begins
                }
                Range::Inside { since } => {
                    let over = match to {
                        Address::Line(line) => number >= *line,
                        Address::After(count) => number >= since + count,
                        to => holds(to),
                    };
                    if over {
                        command.range = Range::Outside;
                    }
                    // A range by number that a jump has passed does not hold any more.
                    !matches!(to, Address::Line(line) if number > *line)
                }
            },
        };
        selected != command.negated
    }

    fn substitute(&mut self, index: usize, out: &mut dyn Write) -> io::Result<bool> {
        let Action::Substitute(substitution) = &self.commands[index].action else {
            return Ok(false);
        };
        if substitution.regex.is_some() {
            self.last_regex = substitution.regex.clone();
        }
        let Some(regex) = &self.last_regex else { return Ok(false) };
        let Some(result) = replaced(regex, substitution, &self.space) else { return Ok(false) };
        let (print, file) = (substitution.print, substitution.file.clone());
        self.space = result;
        if print {
            self.print(out)?;
        }
        if let Some(file) = file {
            let line = format!("{}\n", self.space);
            self.write_file(&file, line.as_bytes(), out)?;
        }
        Ok(true)
    }
}

fn replaced(regex: &Regex, substitution: &Substitution, text: &str) -> Option<String> {
    let mut result = String::new();
    let mut end = 0;
    let mut done = false;
    for (i, found) in regex.captures_iter(text).enumerate() {
        let Some(all) = found.get(0) else { continue };
        if i + 1 < substitution.nth {
            continue;
        }
        result.push_str(&text[end..all.start()]);
        for piece in &substitution.replacement {
            match piece {
                Piece::Text(text) => result.push_str(text),
                Piece::Group(number) => {
                    result.push_str(found.get(*number).map_or("", |group| group.as_str()))
                }
            }
        }
        end = all.end();
        done = true;
        if !substitution.all {
            break;
        }
    }
    result.push_str(&text[end..]);
    done.then_some(result)
}
