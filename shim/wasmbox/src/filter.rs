//! Filters: applets that are handed their input piece by piece.
//!
//! A WebAssembly guest has no processes, so the commands of a pipeline cannot run beside each
//! other. A filter needs none: `producer | filter` runs the producer, and whatever it writes goes
//! through the filter at once. So `yes | head -1` ends, and `cat large | grep x | wc -l` needs no
//! memory. Only commands that read at their own pace (`while read`, `sh`) wait for all of it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use crate::call::{Call, Failure, Outcome};
use crate::streams::{In, Out};

/// Whether a filter wants to be fed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    More,
    /// Whatever comes in this file, it changes nothing.
    Enough,
}

pub(crate) trait Filter {
    /// A new file; `None` is stdin that nobody named.
    fn begin(&mut self, _name: Option<&str>, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants>;

    /// The file is over.
    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// All files are over. Answers the exit code.
    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<i32> {
        Ok(0)
    }

    /// The exit code when a file could not be read.
    fn trouble(&self) -> i32 {
        1
    }
}

/// A filter and the files it is for; none means stdin.
pub(crate) struct Filtering {
    pub(crate) filter: Box<dyn Filter>,
    pub(crate) files: Vec<String>,
}

impl Filtering {
    pub(crate) fn new(filter: impl Filter + 'static, files: Vec<String>) -> Filtering {
        Filtering { filter: Box::new(filter), files }
    }

    /// Whether it is stdin that it reads, and only that.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.files.is_empty() || self.files == ["-"]
    }

    pub(crate) fn run(mut self, call: &Call<'_>) -> Outcome {
        let mut status = 0;
        let filter = self.filter.as_mut();
        if self.files.is_empty() {
            pass(filter, None, &call.streams.stdin, call)?;
        }
        for name in &self.files {
            match call.open(name).and_then(|input| pass(filter, Some(name), &input, call)) {
                Ok(()) => {}
                Err(Failure::Said(sentence, _)) => {
                    call.complain(sentence);
                    status = filter.trouble();
                }
                Err(failure) => return Err(failure),
            }
        }
        let finished = filter.finish(&mut *call.out())?;
        Ok(if status == 0 { finished } else { status })
    }
}

fn pass(
    filter: &mut dyn Filter,
    name: Option<&str>,
    input: &In,
    call: &Call<'_>,
) -> Result<(), Failure> {
    filter.begin(name, &mut *call.out())?;
    loop {
        let mut input = input.borrow_mut();
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) => return Err(Failure::of(name.unwrap_or("stdin"), &error)),
        };
        let length = bytes.len();
        if length == 0 {
            break;
        }
        let wants = filter.feed(bytes, &mut *call.out())?;
        input.consume(length);
        // Whoever reads the output of a filter on a slow input wants to see it now.
        if name.is_none_or(|name| name == "-") {
            call.out().flush()?;
        }
        if wants == Wants::Enough {
            break;
        }
    }
    Ok(filter.end(&mut *call.out())?)
}

/// A filter as something to write to.
pub(crate) struct Feed {
    filter: Box<dyn Filter>,
    out: Out,
    state: State,
}

enum State {
    Begun,
    Over,
}

impl Feed {
    pub(crate) fn new(mut filter: Box<dyn Filter>, out: Out) -> io::Result<Rc<RefCell<Feed>>> {
        filter.begin(None, &mut *out.borrow_mut())?;
        Ok(Rc::new(RefCell::new(Feed { filter, out, state: State::Begun })))
    }

    /// The producer is through. Answers the filter's exit code.
    pub(crate) fn finish(&mut self) -> Outcome {
        let mut out = self.out.borrow_mut();
        if matches!(self.state, State::Begun) {
            self.filter.end(&mut *out)?;
        }
        let status = self.filter.finish(&mut *out)?;
        out.flush()?;
        Ok(status)
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(self.state, State::Over) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut out = self.out.borrow_mut();
        if self.filter.feed(bytes, &mut *out)? == Wants::Enough {
            self.filter.end(&mut *out)?;
            self.state = State::Over;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.borrow_mut().flush()
    }
}

/// What a filter of lines does with each: without the end of the line.
pub(crate) trait Lines {
    fn begin(&mut self, _name: Option<&str>, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<Wants>;

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<i32> {
        Ok(0)
    }

    fn trouble(&self) -> i32 {
        1
    }
}

/// Cuts what comes into lines.
pub(crate) struct ByLine<L> {
    lines: L,
    ends: u8,
    rest: Vec<u8>,
    over: bool,
}

impl<L: Lines> ByLine<L> {
    pub(crate) fn new(lines: L) -> ByLine<L> {
        ByLine { lines, ends: b'\n', rest: Vec::new(), over: false }
    }

    /// Lines that end with NUL.
    pub(crate) fn ending_with_nul(mut self, nul: bool) -> ByLine<L> {
        self.ends = if nul { 0 } else { b'\n' };
        self
    }

    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.over = self.lines.line(line, out)? == Wants::Enough;
        Ok(())
    }
}

impl<L: Lines> Filter for ByLine<L> {
    fn begin(&mut self, name: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        self.over = false;
        self.lines.begin(name, out)
    }

    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| *byte == self.ends) {
            if self.rest.is_empty() {
                self.line(&bytes[..end], out)?;
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line, out)?;
            }
            bytes = &bytes[end + 1..];
            if self.over {
                return Ok(Wants::Enough);
            }
        }
        self.rest.extend_from_slice(bytes);
        Ok(Wants::More)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() && !self.over {
            self.line(&rest, out)?;
        }
        self.lines.end(out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<i32> {
        self.lines.finish(out)
    }
    fn trouble(&self) -> i32 {
        self.lines.trouble()
    }
}
