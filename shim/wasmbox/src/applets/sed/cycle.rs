//! What the commands do to a line.

use std::fs::File;
use std::io::{self, Write};

use regex_lite::Regex;

use super::script::{Action, Piece, Range, Substitution};
use super::{Sed, Then};

/// Where a cycle goes on after a command.
enum Step {
    On,
    To(usize),
    /// Behind the last command.
    End,
    Over(Then),
}

impl Sed {
    pub(super) fn cycle(&mut self, out: &mut dyn Write) -> io::Result<Then> {
        let mut at = 0;
        // `t` asks whether something was replaced since the last line or the last `t`.
        let mut substituted = false;
        while at < self.commands.len() {
            let index = at;
            at += 1;
            let selected = self.selects(index);
            let step = match (&self.commands[index].action, selected) {
                (Action::Block(end), false) => Step::To(*end),
                (_, false) => Step::On,
                (Action::Substitute(_), true) => {
                    substituted |= self.substitute(index, out)?;
                    Step::On
                }
                (Action::Branch(kind, label), true) => {
                    let jumps = match kind {
                        'b' => true,
                        't' => std::mem::take(&mut substituted),
                        _ => !std::mem::take(&mut substituted),
                    };
                    let found = self.labels.iter().find(|(known, _)| known == label);
                    if jumps { found.map_or(Step::End, |(_, at)| Step::To(*at)) } else { Step::On }
                }
                (_, true) => self.act(index, out)?,
            };
            match step {
                Step::On => {}
                Step::To(index) => at = index,
                Step::End => break,
                Step::Over(then) => return Ok(then),
            }
        }
        if !self.quiet {
            self.print(out)?;
        }
        Ok(Then::NextCycle)
    }

    /// Commands that do not depend on others of the cycle.
    fn act(&mut self, index: usize, out: &mut dyn Write) -> io::Result<Step> {
        match &self.commands[index].action {
            Action::Delete => return Ok(Step::Over(Then::NextCycle)),
            Action::DeleteFirst => return Ok(Step::Over(self.delete_first())),
            Action::Print => self.print(out)?,
            Action::PrintFirst => {
                let line = format!("{}\n", self.space.split('\n').next().unwrap_or_default());
                self.emit(line.as_bytes(), out)?;
            }
            Action::Number => self.emit(format!("{}\n", self.number).as_bytes(), out)?,
            Action::List => {
                self.emit(format!("{}$\n", self.space.escape_default()).as_bytes(), out)?
            }
            Action::Next => {
                // Without a next line, `n` prints and ends (GNU, busybox).
                if !self.quiet {
                    self.print(out)?;
                }
                self.flush_appended(out)?;
                let Some(line) = self.waiting.pop_front() else {
                    return Ok(Step::Over(Then::NextCycle));
                };
                self.space = line;
                self.number += 1;
            }
            Action::Append => {
                let Some(line) = self.waiting.pop_front() else { return Ok(Step::End) };
                self.space.push('\n');
                self.space.push_str(&line);
                self.number += 1;
            }
            Action::Quit { print, status } => {
                let print = *print && !self.quiet;
                self.status = Some(*status);
                if print {
                    self.print(out)?;
                }
                return Ok(Step::Over(Then::Quit));
            }
            Action::Hold { append: false } => self.hold = self.space.clone(),
            Action::Hold { append: true } => self.hold = format!("{}\n{}", self.hold, self.space),
            Action::Get { append: false } => self.space = self.hold.clone(),
            Action::Get { append: true } => self.space = format!("{}\n{}", self.space, self.hold),
            Action::Exchange => std::mem::swap(&mut self.space, &mut self.hold),
            Action::Text(letter, text) => return self.text(index, *letter, text.clone(), out),
            Action::Translate(pairs) => {
                let to =
                    |c: char| pairs.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to);
                self.space = self.space.chars().map(to).collect();
            }
            Action::ReadFile(name) => self.appended.extend(std::fs::read(name).unwrap_or_default()),
            Action::WriteFile(name) => {
                let (name, line) = (name.clone(), format!("{}\n", self.space));
                self.write_file(&name, line.as_bytes(), out)?;
            }
            // These are the cycle's own.
            Action::Block(_)
            | Action::End
            | Action::Label
            | Action::Substitute(_)
            | Action::Branch(..) => {}
        }
        Ok(Step::On)
    }

    fn delete_first(&mut self) -> Then {
        match self.space.find('\n') {
            None => Then::NextCycle,
            Some(end) => {
                self.space.drain(..=end);
                Then::SameSpace
            }
        }
    }

    /// `a`, `i`, `c`
    fn text(
        &mut self,
        index: usize,
        letter: char,
        text: String,
        out: &mut dyn Write,
    ) -> io::Result<Step> {
        match letter {
            'a' => self.appended.extend(text.into_bytes()),
            'i' => self.emit(text.as_bytes(), out)?,
            _ => {
                // A range is replaced once, at its end.
                let command = &self.commands[index];
                if command.to.is_none() || command.negated || command.range == Range::Outside {
                    self.emit(text.as_bytes(), out)?;
                }
                return Ok(Step::Over(Then::NextCycle));
            }
        }
        Ok(Step::On)
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
