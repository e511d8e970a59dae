//! `sed`.

mod cycle;
mod script;
mod select;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use regex_lite::Regex;

use super::regex::Dialect;
use crate::call::Failure;
use crate::filter::{ByLine, Filtering, Lines, Wants};
use crate::options::Options;
use script::{Action, Command};

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
    last_regex: Option<Rc<Regex>>,
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
}
