//! How a shell begins: a text, a file, stdin or a person.

use super::parser::{Parser, Wrong};
use super::{Run, Shell, Stop};
use crate::call::{Call, Failure, Outcome, sentence};
use crate::streams::read_line;

enum Script {
    /// `-c`
    Text(String),
    File(String),
    Stdin,
}

pub(crate) fn sh(call: &Call<'_>) -> Outcome {
    let mut shell = Shell::new(call);
    let mut args = call.args.iter();
    let (mut text, mut from_stdin) = (false, false);
    while let Some(arg) = args.as_slice().first() {
        let on = arg.starts_with('-');
        if arg.len() < 2 || !(on || arg.starts_with('+')) {
            break;
        }
        args.next();
        if arg == "--" {
            break;
        }
        for letter in arg.trim_start_matches("--").chars().skip(usize::from(!arg.starts_with("--")))
        {
            match letter {
                'c' => text = true,
                's' => from_stdin = true,
                'o' => {
                    let name = args.next().map(String::as_str).unwrap_or_default();
                    if let Err(stop) = shell.option(name, on) {
                        return Ok(shell.conclude(Err(stop)));
                    }
                }
                // `--login` and its like say nothing that matters here.
                _ if arg.starts_with("--") => break,
                _ => {
                    if let Err(stop) = shell.option(&letter.to_string(), on) {
                        return Ok(shell.conclude(Err(stop)));
                    }
                }
            }
        }
    }
    let script = if text {
        let text =
            args.next().ok_or_else(|| Failure::Said("-c requires an argument".to_string(), 2))?;
        if let Some(name) = args.next() {
            shell.name = name.clone();
        }
        Script::Text(text.clone())
    } else {
        match if from_stdin { None } else { args.next() } {
            Some(file) => {
                shell.name = file.clone();
                Script::File(file.clone())
            }
            None => Script::Stdin,
        }
    };
    shell.positional = args.cloned().collect();
    let result = match script {
        Script::Text(text) => shell.text(&text),
        Script::File(file) => match std::fs::read(&file) {
            Ok(bytes) => shell.text(&String::from_utf8_lossy(&bytes)),
            Err(error) => {
                let sentence = format!("can't open '{file}': {}", sentence(&error));
                return Err(Failure::Said(sentence, 2));
            }
        },
        Script::Stdin => {
            let terminals = call.streams.terminals();
            shell.options.interactive |= terminals[0] && terminals[1];
            shell.lines()
        }
    };
    Ok(shell.conclude(result))
}

impl Shell {
    /// Commands from stdin, each as soon as it is whole. They share stdin with what they start.
    fn lines(&mut self) -> Run {
        let mut status = 0;
        let mut text = String::new();
        loop {
            if self.options.interactive {
                self.prompt(if text.is_empty() { "PS1" } else { "PS2" });
            }
            let line = match read_line(&self.streams().stdin) {
                Ok(line) => line,
                Err(error) => return self.ended("stdin", Err(error.into())),
            };
            let is_last = line.is_none();
            text.push_str(&String::from_utf8_lossy(&line.unwrap_or_default()));
            let mut parser = Parser::new(&text);
            match parser.next() {
                Ok(Some(script)) => {
                    let used = parser.used();
                    status = match self.script(&script) {
                        // A person goes on after an error; only `exit` ends the session.
                        Err(Stop::Exit(2)) if self.options.interactive && !is_exit(&text) => 2,
                        result => result?,
                    };
                    self.status = status;
                    text.drain(..used);
                }
                Ok(None) => text.clear(),
                Err(Wrong::Incomplete) if !is_last => continue,
                Err(wrong) => {
                    let stop = self.fatal(&wrong.to_string());
                    if !self.options.interactive {
                        return Err(stop);
                    }
                    text.clear();
                }
            }
            if is_last {
                if self.options.interactive {
                    let _ = self.write("\n");
                }
                return Ok(status);
            }
        }
    }

    fn prompt(&mut self, name: &str) {
        let prompt = self.value(name).unwrap_or_default();
        let prompt = prompt.replace("\\w", &self.directory).replace("\\$", "#");
        let _ = self.streams().stderr.borrow_mut().write_all(prompt.as_bytes());
    }
}

fn is_exit(text: &str) -> bool {
    text.trim_start().starts_with("exit")
}
