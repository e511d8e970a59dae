//! Pipelines without processes.
//!
//! `a | b | c`: where `b` and `c` are filters, `a` writes into them and they work while it does.
//! Where one is not, all that comes before it runs first and is kept for it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use super::ast::{Command, Kind, Part};
use super::{Run, Shell, Stop};
use crate::applets::{self, Applet};
use crate::call::{Call, Outcome};
use crate::filter::{Feed, Filter, Filtering, Wants};
use crate::streams::{Fd, In, Out, Spool, Streams};

impl Shell {
    pub(super) fn pipe(&mut self, commands: &[Command]) -> Run {
        let mut statuses = Vec::new();
        let mut stdin: Option<In> = None;
        let mut rest = commands;
        while let Some((head, behind)) = rest.split_first() {
            let filters = behind.iter().take_while(|command| self.is_filter(command)).count();
            let (filters, after) = behind.split_at(filters);
            let spool = (!after.is_empty()).then(Spool::new);
            let last: Option<Out> = spool.clone().map(|spool| spool as Out);
            statuses.extend(self.segment(head, filters, stdin.take(), last)?);
            if let Some(spool) = spool {
                stdin = Some(
                    Spool::take(&spool).unwrap_or_else(|_| crate::streams::input(io::empty())),
                );
            }
            rest = after;
        }
        let failed = statuses.iter().rev().copied().find(|status| *status != 0);
        Ok(match failed {
            Some(failed) if self.options.pipe_fail => failed,
            _ => statuses.last().copied().unwrap_or(0),
        })
    }

    /// A command and the filters behind it. Answers the exit code of each.
    fn segment(
        &mut self,
        head: &Command,
        filters: &[Command],
        stdin: Option<In>,
        stdout: Option<Out>,
    ) -> Result<Vec<i32>, Stop> {
        let mut copy = self.clone();
        copy.at_exit = None;
        if let Some(stdout) = stdout {
            copy.descriptors[1] = Some(Fd::Out(stdout));
        }
        let mut feeds: Vec<(String, Rc<RefCell<Feed>>)> = Vec::new();
        for command in filters.iter().rev() {
            let (name, feed) = copy.feed(command)?;
            copy.descriptors[1] = Some(Fd::Out(feed.clone()));
            feeds.push((name, feed));
        }
        if let Some(stdin) = stdin {
            copy.descriptors[0] = Some(Fd::In(stdin));
        }
        let before = std::env::current_dir();
        let result = copy.command(head);
        let mut statuses = vec![copy.conclude(result)];
        if let Ok(before) = before {
            let _ = std::env::set_current_dir(before);
        }
        for (name, feed) in feeds.into_iter().rev() {
            let outcome = feed.borrow_mut().finish();
            statuses.push(self.ended(&name, outcome)?);
        }
        Ok(statuses)
    }

    fn is_filter(&self, command: &Command) -> bool {
        let Kind::Simple { words, assignments } = &command.kind else { return false };
        let Some([Part::Text(name)]) = words.first().map(|word| &word[..]) else { return false };
        assignments.is_empty()
            && !self.functions.contains_key(name)
            && !self.aliases.contains_key(name)
            && matches!(applets::named(name), Some(Applet::Filter(_)))
    }

    /// The filter as something to write to; what it writes goes to this shell's stdout.
    fn feed(&mut self, command: &Command) -> Result<(String, Rc<RefCell<Feed>>), Stop> {
        let Kind::Simple { words, .. } = &command.kind else { return Ok(never(1)) };
        let words = self.fields(words)?;
        let Some((name, args)) = words.split_first() else { return Ok(never(0)) };
        let before = self.descriptors.clone();
        let own = self.descriptors[0].take();
        let redirected = self.redirect(&command.redirects);
        let streams = self.streams();
        let other_stdin = self.descriptors[0].is_some();
        self.descriptors = before;
        drop(own);
        match redirected {
            Ok(()) => {}
            Err(Ok(())) => return Ok(never(1)),
            Err(Err(stop)) => return Err(stop),
        }
        let Some(Applet::Filter(parse)) = applets::named(name) else { return Ok(never(127)) };
        let filtering = match parse(args) {
            Ok(filtering) => filtering,
            Err(failure) => {
                let status = self.ended(name, Err(failure))?;
                return Ok(never(status));
            }
        };
        let stdout = Rc::clone(&streams.stdout);
        let filter: Box<dyn Filter> = if filtering.reads_stdin() && !other_stdin {
            filtering.filter
        } else {
            let late = Late { name: name.clone(), filtering: Some(filtering), streams };
            Box::new(late)
        };
        match Feed::new(filter, stdout) {
            Ok(feed) => Ok((name.clone(), feed)),
            Err(_) => Ok(never(1)),
        }
    }
}

/// Takes nothing and has ended.
fn never(status: i32) -> (String, Rc<RefCell<Feed>>) {
    let out = crate::streams::output(io::sink());
    // It writes nothing at its beginning, so that cannot fail.
    let feed = Feed::new(Box::new(Ended(status)), out).expect("nothing is written");
    (String::new(), feed)
}

struct Ended(i32);

impl Filter for Ended {
    fn feed(&mut self, _: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        Ok(Wants::Enough)
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<i32> {
        Ok(self.0)
    }
}

/// A filter that stands in a pipeline and reads files.
struct Late {
    name: String,
    filtering: Option<Filtering>,
    streams: Streams,
}

impl Late {
    fn run(&mut self, out: &mut dyn Write) -> Outcome {
        let Some(filtering) = self.filtering.take() else { return Ok(0) };
        // The pipeline holds the output that this filter is to write to.
        let own = Spool::new();
        let both = Rc::ptr_eq(&self.streams.stdout, &self.streams.stderr);
        let stderr = if both { own.clone() } else { Rc::clone(&self.streams.stderr) };
        let streams =
            Streams { stdout: own.clone(), stderr, stdin: Rc::clone(&self.streams.stdin) };
        let call = Call { name: &self.name, args: &[], env: Rc::default(), streams };
        let outcome = filtering.run(&call);
        io::copy(&mut *Spool::take(&own)?.borrow_mut(), out)?;
        outcome
    }
}

impl Filter for Late {
    fn feed(&mut self, _: &[u8], _: &mut dyn Write) -> io::Result<Wants> {
        Ok(Wants::Enough)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        match self.run(out) {
            Ok(status) => Ok(status),
            Err(crate::call::Failure::Said(sentence, status)) => {
                let line = format!("{}: {sentence}\n", self.name);
                self.streams.stderr.borrow_mut().write_all(line.as_bytes())?;
                Ok(status)
            }
            Err(crate::call::Failure::Exit(status)) => Ok(status),
            Err(crate::call::Failure::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}
