//! `sh`: POSIX's shell in one guest that has no processes.
//!
//! A subshell is a copy of the state, a command substitution a subshell that writes to a buffer, a
//! pipeline runs from the left (see [`crate::filter`]). What needs a process that runs beside the
//! shell is refused by name: `&`, signals to others.
//!
//! Text → [`parser`] → [`ast`] → [`run`], which asks [`expand`] for words, [`redirect`] for
//! streams, [`builtins`] for what changes the shell itself.

mod arith;
mod ast;
mod builtins;
mod expand;
mod grammar;
mod parser;
pub(crate) mod pattern;
mod pipeline;
mod redirect;
mod run;
mod start;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::call::{Call, Failure, Outcome, Variables};
use crate::streams::{Fd, Spool, Streams, output};
use ast::{Command, Script};

pub(crate) use start::sh;

#[derive(Clone)]
struct Variable {
    /// `None`: declared, not set.
    value: Option<String>,
    exported: bool,
    read_only: bool,
}

#[derive(Clone, Copy, Default)]
struct Options {
    /// `-e`
    exit_on_error: bool,
    /// `-u`
    no_unset: bool,
    /// `-x`
    trace: bool,
    /// `-f`
    no_glob: bool,
    /// `-n`
    no_execution: bool,
    /// `-C`
    no_clobber: bool,
    /// `-o pipefail`
    pipe_fail: bool,
    interactive: bool,
}

/// Why commands are not gone on with.
#[derive(Debug)]
enum Stop {
    Break(u32),
    Continue(u32),
    Return(i32),
    Exit(i32),
}

type Run = Result<i32, Stop>;

/// What descriptors a command has, by number.
type Descriptors = [Option<Fd>; 10];

#[derive(Clone)]
pub(crate) struct Shell {
    name: String,
    variables: BTreeMap<String, Variable>,
    positional: Vec<String>,
    functions: BTreeMap<String, Rc<Command>>,
    aliases: BTreeMap<String, String>,
    options: Options,
    status: i32,
    descriptors: Descriptors,
    /// What `trap … EXIT` said.
    at_exit: Option<String>,
    /// The other traps, which only `trap` itself can tell: no signal reaches a guest.
    traps: BTreeMap<String, String>,
    /// Variables that `local` has hidden, for each function that runs.
    locals: Vec<Vec<(String, Option<Variable>)>>,
    /// Loops around this command, in this function.
    loops: u32,
    /// In a condition, where a failure is an answer and `-e` does not count.
    tested: u32,
    /// What the last command substitution ended with, for a command of assignments only.
    substituted: i32,
    /// Commands in each other; each takes stack.
    depth: u32,
    /// As `cd` has it, with symbolic links.
    directory: String,
    /// For `getopts`: how far it is in a cluster of letters.
    letter: usize,
    line_number: usize,
}

/// More commands in each other than this end the shell and not its stack, of which each takes a
/// kilobyte or two.
const DEEPEST: u32 = 1000;

impl Shell {
    fn new(call: &Call<'_>) -> Shell {
        let mut descriptors: Descriptors = Default::default();
        descriptors[0] = Some(Fd::In(Rc::clone(&call.streams.stdin)));
        descriptors[1] = Some(Fd::Out(Rc::clone(&call.streams.stdout)));
        descriptors[2] = Some(Fd::Out(Rc::clone(&call.streams.stderr)));
        let variable = |value: &String| Variable {
            value: Some(value.clone()),
            exported: true,
            read_only: false,
        };
        let valid = |name: &&String| name.chars().all(parser::is_name);
        let mut shell = Shell {
            name: call.name.to_string(),
            variables: call
                .env
                .iter()
                .filter(|(name, _)| valid(name))
                .map(|(name, value)| (name.clone(), variable(value)))
                .collect(),
            positional: Vec::new(),
            functions: BTreeMap::new(),
            aliases: BTreeMap::new(),
            options: Options::default(),
            status: 0,
            descriptors,
            at_exit: None,
            traps: BTreeMap::new(),
            locals: Vec::new(),
            loops: 0,
            tested: 0,
            substituted: 0,
            depth: 0,
            directory: crate::applets::directory(),
            letter: 0,
            line_number: 0,
        };
        shell.assign("PWD", Some(shell.directory.clone()));
        for (name, value) in
            [("IFS", " \t\n"), ("PS1", "# "), ("PS2", "> "), ("PS4", "+ "), ("OPTIND", "1")]
        {
            if name == "IFS" || !shell.variables.contains_key(name) {
                shell.variables.remove(name);
                shell.assign(name, Some(value.to_string()));
            }
        }
        shell
    }

    fn value(&self, name: &str) -> Option<String> {
        if let Ok(index) = name.parse::<usize>() {
            return match index {
                0 => Some(self.name.clone()),
                _ => self.positional.get(index - 1).cloned(),
            };
        }
        match name {
            "RANDOM" => Some((crate::streams::random(0) & 0x7fff).to_string()),
            "LINENO" => Some(self.line_number.max(1).to_string()),
            "SECONDS" => Some(crate::applets::clock::seconds().to_string()),
            _ => self.variables.get(name)?.value.clone(),
        }
    }

    /// Parameters that are no variables.
    fn special(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "#" => Some(self.positional.len().to_string()),
            "$" => Some(crate::applets::process::own_id().to_string()),
            "@" | "*" if !self.positional.is_empty() => Some(self.positional.join(" ")),
            "-" => {
                let options = self.options;
                let flags = [
                    ('e', options.exit_on_error),
                    ('f', options.no_glob),
                    ('i', options.interactive),
                    ('u', options.no_unset),
                    ('x', options.trace),
                ];
                Some(flags.iter().filter(|(_, on)| *on).map(|(flag, _)| *flag).collect())
            }
            _ => None,
        }
    }

    /// Sets a variable as a script may.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Stop> {
        if self.variables.get(name).is_some_and(|variable| variable.read_only) {
            return Err(self.fatal(&format!("{name}: is read only")));
        }
        self.assign(name, Some(value.to_string()));
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Option<String>) {
        let hidden = Variable { value: None, exported: false, read_only: false };
        self.variables.entry(name.to_string()).or_insert(hidden).value = value;
        if name == "OPTIND" {
            self.letter = 0;
        }
    }

    /// What commands get.
    fn exported(&self) -> Rc<Variables> {
        let exported = self.variables.iter().filter(|(_, variable)| variable.exported);
        let value =
            |(name, variable): (&String, &Variable)| Some((name.clone(), variable.value.clone()?));
        Rc::new(exported.filter_map(value).collect())
    }

    /// The first three descriptors, as applets know them.
    fn streams(&self) -> Streams {
        let out = |number: usize| match &self.descriptors[number] {
            Some(Fd::Out(out)) => Rc::clone(out),
            _ => output(redirect::NotOpen),
        };
        let stdin = match &self.descriptors[0] {
            Some(Fd::In(stdin)) => Rc::clone(stdin),
            _ => crate::streams::input(std::io::empty()),
        };
        Streams { stdin, stdout: out(1), stderr: out(2) }
    }

    fn say(&self, sentence: &str) {
        let streams = self.streams();
        let _ = std::io::Write::flush(&mut *streams.stdout.borrow_mut());
        let line = format!("{}: {sentence}\n", self.name);
        let _ = streams.stderr.borrow_mut().write_all(line.as_bytes());
    }

    /// Says what is wrong; a script ends there with 2, a person may go on.
    fn fatal(&self, sentence: &str) -> Stop {
        self.say(sentence);
        Stop::Exit(2)
    }

    fn write(&self, text: &str) -> Outcome {
        self.streams().stdout.borrow_mut().write_all(text.as_bytes())?;
        Ok(0)
    }

    /// `$(…)`: what a copy of this shell writes.
    fn substitute(&mut self, script: &Rc<Script>) -> Result<String, Stop> {
        let spool = Spool::new();
        let mut copy = self.clone();
        copy.descriptors[1] = Some(Fd::Out(spool.clone()));
        copy.at_exit = None;
        copy.loops = 0;
        self.substituted = copy.subshell(script);
        self.status = self.substituted;
        let bytes = Spool::take_bytes(&spool).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(text.trim_end_matches('\n').replace('\0', ""))
    }

    /// Runs the script in this shell, which is a copy, and comes back to where the original is.
    fn subshell(&mut self, script: &Script) -> i32 {
        let before = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let result = self.script(script);
        let status = self.conclude(result);
        let _ = std::env::set_current_dir(before);
        status
    }

    /// The exit code of a shell whose commands are over, after what `trap` has for that.
    fn conclude(&mut self, result: Run) -> i32 {
        let mut status = match result {
            Ok(status) | Err(Stop::Exit(status) | Stop::Return(status)) => status,
            Err(Stop::Break(_) | Stop::Continue(_)) => self.status,
        };
        if let Some(text) = self.at_exit.take() {
            self.status = status;
            if let Err(Stop::Exit(own)) = self.text(&text) {
                status = own;
            }
        }
        self.flush();
        status & 0xff
    }

    fn flush(&mut self) {
        for fd in self.descriptors.iter().flatten() {
            if let Fd::Out(out) = fd {
                let _ = out.borrow_mut().flush();
            }
        }
    }

    /// Parses and runs, as `eval` does.
    fn text(&mut self, text: &str) -> Run {
        let mut parser = parser::Parser::new(text);
        let mut status = 0;
        loop {
            match parser.next() {
                Ok(Some(script)) => status = self.script(&script)?,
                Ok(None) => return Ok(status),
                Err(wrong) => return Err(self.fatal(&wrong.to_string())),
            }
        }
    }

    /// How a command that failed ends, in a shell.
    fn ended(&self, name: &str, outcome: Outcome) -> Run {
        match outcome {
            Ok(status) => Ok(status),
            Err(Failure::Said(sentence, status)) => {
                self.say(&if name.is_empty() { sentence } else { format!("{name}: {sentence}") });
                Ok(status)
            }
            Err(Failure::Closed) => Ok(crate::call::CLOSED),
            Err(Failure::Exit(status)) => Err(Stop::Exit(status)),
        }
    }
}

impl arith::Variables for Shell {
    fn get(&self, name: &str) -> Option<String> {
        self.value(name)
    }

    fn set(&mut self, name: &str, value: i64) -> Result<(), String> {
        if self.variables.get(name).is_some_and(|variable| variable.read_only) {
            return Err(format!("{name}: is read only"));
        }
        self.assign(name, Some(value.to_string()));
        Ok(())
    }
}
