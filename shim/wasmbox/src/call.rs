//! One call of an applet: what it is given, and how it may end.

use std::cell::RefMut;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use crate::streams::{In, Streams, file_input};

/// Exported variables, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Variables {
        let mut variables = Variables::default();
        pairs.into_iter().for_each(|(name, value)| variables.insert(name, value));
        variables
    }
}

pub(crate) struct Call<'a> {
    /// What the applet was called.
    pub(crate) name: &'a str,
    /// Without the name.
    pub(crate) args: &'a [String],
    pub(crate) env: Rc<Variables>,
    pub(crate) streams: Streams,
}

/// Why a command did not get to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One sentence for stderr, after the command's name, and the exit code.
    Said(String, i32),
    /// Nobody reads what it writes: it ends, and there is nothing to say.
    Closed,
    /// The shell, and so the process, is to end.
    Exit(i32),
}

pub(crate) type Outcome = Result<i32, Failure>;

/// What a program that SIGPIPE ended has as its exit code in a shell.
pub(crate) const CLOSED: i32 = 128 + 13;

impl Failure {
    pub(crate) fn new(sentence: impl Into<String>) -> Failure {
        Failure::Said(sentence.into(), 1)
    }

    /// `what` is the file or address that could not be had.
    pub(crate) fn of(what: &str, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::Closed;
        }
        Failure::new(format!("{what}: {}", sentence(error)))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::new(sentence(&error)),
        }
    }
}

/// An error as C programs say it: without the number.
pub(crate) fn sentence(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl Call<'_> {
    pub(crate) fn out(&self) -> RefMut<'_, dyn Write> {
        self.streams.stdout.borrow_mut()
    }

    /// Says something on stderr and goes on. Answers 1, which is what the exit code will be.
    pub(crate) fn complain(&self, sentence: impl std::fmt::Display) -> i32 {
        // What was written before is to be seen before.
        if let Ok(mut out) = self.streams.stdout.try_borrow_mut() {
            let _ = out.flush();
        }
        let line = format!("{}: {sentence}\n", self.name);
        if let Ok(mut stderr) = self.streams.stderr.try_borrow_mut() {
            let _ = stderr.write_all(line.as_bytes());
        }
        1
    }

    pub(crate) fn complain_of(&self, what: &str, error: &io::Error) -> i32 {
        self.complain(format!("{what}: {}", sentence(error)))
    }

    /// The file of an operand; `-` is stdin.
    pub(crate) fn open(&self, name: &str) -> Result<In, Failure> {
        if name == "-" {
            return Ok(Rc::clone(&self.streams.stdin));
        }
        open_file(name).map(file_input)
    }

    /// All of an operand.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let input = self.open(name)?;
        let read = input.borrow_mut().read_to_end(&mut bytes);
        read.map_err(|error| Failure::of(name, &error))?;
        Ok(bytes)
    }

    /// Runs another applet with these words, on the same streams.
    pub(crate) fn run(&self, words: &[String]) -> Outcome {
        self.run_with(words, Rc::clone(&self.env))
    }

    pub(crate) fn run_with(&self, words: &[String], env: Rc<Variables>) -> Outcome {
        let Some((name, args)) = words.split_first() else { return Ok(0) };
        crate::applets::run(name, args, env, self.streams.clone())
    }

    pub(crate) fn usage(&self, usage: &str) -> Failure {
        Failure::Said(format!("usage: {} {usage}", self.name), 1)
    }
}

/// A file for reading. A folder opens on WASI as elsewhere, and fails at the first read with an
/// error that does not say so.
pub(crate) fn open_file(name: &str) -> Result<File, Failure> {
    let can_not =
        |error: &io::Error| Failure::new(format!("can't open '{name}': {}", sentence(error)));
    let file = File::open(name).map_err(|error| can_not(&error))?;
    if file.metadata().is_ok_and(|file| file.is_dir()) {
        return Err(Failure::new(format!("{name}: Is a directory")));
    }
    Ok(file)
}
