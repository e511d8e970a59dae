//! Expansion of words (XCU 2.6): parameters, substitutions, fields, path names.

use super::ast::{Part, Use, Word};
use super::parser::is_name;
use super::pattern::{self, Char};
use super::{Shell, Stop, arith};

type Expanded<T> = Result<T, Stop>;

/// Words become fields here.
#[derive(Default)]
struct Fields {
    done: Vec<Vec<Char>>,
    /// `None`: nothing yet, which is less than an empty field.
    current: Option<Vec<Char>>,
}

impl Fields {
    fn push(&mut self, text: &str, quoted: bool) {
        let current = self.current.get_or_insert_default();
        current.extend(text.chars().map(|c| (c, quoted)));
    }

    fn end(&mut self) {
        self.done.extend(self.current.take());
    }

    /// The result of an expansion outside quotes: cut at the separators.
    fn split(&mut self, text: &str, separators: &str) {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if !separators.contains(c) {
                self.current.get_or_insert_default().push((c, false));
                continue;
            }
            if !c.is_whitespace() {
                self.current.get_or_insert_default();
            }
            self.end();
            // White space around another separator belongs to it.
            let mut other = !c.is_whitespace();
            while let Some(next) = chars.peek().copied().filter(|c| separators.contains(*c)) {
                if !next.is_whitespace() {
                    if other {
                        break;
                    }
                    other = true;
                }
                chars.next();
            }
        }
    }
}

/// What the expansion of a word is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Arguments of a command: cut into fields.
    Fields,
    /// The word of `${x:-word}` there: its own text is cut, too.
    Default,
    /// One string: an assignment, a file name, a pattern.
    One,
}

const DECLARING: [&str; 4] = ["alias", "export", "local", "readonly"];

fn is_assignment(word: &Word) -> bool {
    let Some(Part::Text(text)) = word.first() else { return false };
    text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_name))
}

impl Shell {
    /// Words of a command: split, and path names filled in.
    pub(super) fn fields(&mut self, words: &[Word]) -> Expanded<Vec<String>> {
        let mut result = Vec::new();
        for word in words {
            // Declarations are assignments, whose values are one string each (XCU 2.9.1.1 of 2024).
            let declares =
                result.first().is_some_and(|name: &String| DECLARING.contains(&name.as_str()));
            if declares && is_assignment(word) {
                result.push(self.string(word)?);
                continue;
            }
            let mut fields = Fields::default();
            self.parts(word, false, Purpose::Fields, &mut fields)?;
            fields.end();
            for field in fields.done {
                if !self.options.no_glob && pattern::is_pattern(&field) {
                    let paths = pattern::paths(&field);
                    if !paths.is_empty() {
                        result.extend(paths);
                        continue;
                    }
                }
                result.push(pattern::text(&field));
            }
        }
        Ok(result)
    }

    pub(super) fn string(&mut self, word: &Word) -> Expanded<String> {
        Ok(pattern::text(&self.pattern(word)?))
    }

    /// A word whose quoted characters mean themselves.
    pub(super) fn pattern(&mut self, word: &Word) -> Expanded<Vec<Char>> {
        let mut fields = Fields::default();
        self.parts(word, false, Purpose::One, &mut fields)?;
        fields.end();
        Ok(fields.done.concat())
    }

    fn parts(
        &mut self,
        word: &Word,
        quoted: bool,
        purpose: Purpose,
        to: &mut Fields,
    ) -> Expanded<()> {
        for (i, part) in word.iter().enumerate() {
            match part {
                Part::Text(text) if i == 0 && !quoted && text.starts_with('~') => {
                    let text = self.home_for_tilde(text, word.len() > 1);
                    to.push(&text, false);
                }
                Part::Text(text) if purpose == Purpose::Default => {
                    self.push_value(text, quoted, purpose, to)
                }
                // Text within double quotes stands for itself.
                Part::Text(text) => to.push(text, quoted),
                Part::Quoted(text) => to.push(text, true),
                Part::Double(inner) => {
                    // `""` is an empty field, but `"$@"` without parameters is none.
                    let is_at = matches!(&inner[..], [Part::Parameter { name, use_: Use::Value }] if name == "@");
                    if !is_at {
                        to.push("", true);
                    }
                    self.parts(inner, true, purpose, to)?;
                }
                Part::Parameter { name, use_ } => {
                    self.parameter(name, use_, quoted, purpose, to)?
                }
                Part::Command(script) => {
                    let text = self.substitute(script)?;
                    self.push_value(&text, quoted, purpose, to);
                }
                Part::Arithmetic(word) => {
                    let text = self.quoted_string(word)?;
                    let value = self.arithmetic(&text)?;
                    self.push_value(&value.to_string(), quoted, purpose, to);
                }
            }
        }
        Ok(())
    }

    /// A word in which quotes are ordinary characters.
    fn quoted_string(&mut self, word: &Word) -> Expanded<String> {
        let mut fields = Fields::default();
        self.parts(word, true, Purpose::One, &mut fields)?;
        fields.end();
        Ok(pattern::text(&fields.done.concat()))
    }

    pub(super) fn arithmetic(&mut self, text: &str) -> Expanded<i64> {
        arith::evaluate(text, self).map_err(|wrong| self.fatal(&wrong))
    }

    fn push_value(&self, text: &str, quoted: bool, purpose: Purpose, to: &mut Fields) {
        if quoted || purpose == Purpose::One {
            to.push(text, quoted);
        } else {
            to.split(text, self.value("IFS").as_deref().unwrap_or(" \t\n"));
        }
    }

    fn home_for_tilde(&self, text: &str, goes_on: bool) -> String {
        let rest = &text[1..];
        let is_own = rest.starts_with('/') || (rest.is_empty() && !goes_on);
        match self.value("HOME") {
            Some(home) if is_own => format!("{home}{rest}"),
            _ => text.to_string(),
        }
    }

    fn parameter(
        &mut self,
        name: &str,
        use_: &Use,
        quoted: bool,
        purpose: Purpose,
        to: &mut Fields,
    ) -> Expanded<()> {
        if matches!(name, "@" | "*") && matches!(use_, Use::Value) {
            self.all_positional(name, quoted, purpose, to);
            return Ok(());
        }
        let value = self.special(name).or_else(|| self.value(name));
        if let Use::Unless { operator, colon, word } = use_ {
            let is_there = value.as_ref().is_some_and(|value| !(*colon && value.is_empty()));
            return match (operator, is_there) {
                ('+', true) | ('-', false) => {
                    let purpose =
                        if purpose == Purpose::Fields { Purpose::Default } else { purpose };
                    self.parts(word, quoted, purpose, to)
                }
                ('+', false) => Ok(()),
                ('=', false) => {
                    let value = self.string(word)?;
                    self.set(name, &value)?;
                    self.push_value(&value, quoted, purpose, to);
                    Ok(())
                }
                ('?', false) => {
                    let word = self.string(word)?;
                    let word = if word.is_empty() { "parameter not set" } else { &word };
                    Err(self.fatal(&format!("{name}: {word}")))
                }
                _ if name == "@" || name == "*" => {
                    self.all_positional(name, quoted, purpose, to);
                    Ok(())
                }
                _ => {
                    self.push_value(&value.unwrap_or_default(), quoted, purpose, to);
                    Ok(())
                }
            };
        }
        if value.is_none() && self.options.no_unset {
            return Err(self.fatal(&format!("{name}: parameter not set")));
        }
        let is_set = value.is_some();
        let value = value.unwrap_or_default();
        let result = match use_ {
            Use::Value | Use::Unless { .. } => value,
            Use::Length if matches!(name, "@" | "*") => self.positional.len().to_string(),
            Use::Length => value.chars().count().to_string(),
            Use::TrimStart { longest, pattern } => {
                pattern::trim_start(&value, &self.pattern(pattern)?, *longest)
            }
            Use::TrimEnd { longest, pattern } => {
                pattern::trim_end(&value, &self.pattern(pattern)?, *longest)
            }
            Use::Slice(word) => {
                let word = self.quoted_string(word)?;
                self.slice(&value, &word)?
            }
            Use::Replace { all, pattern, word } => {
                let pattern = self.pattern(pattern)?;
                let word = self.string(word)?;
                pattern::replace(&value, &pattern, &word, *all)
            }
        };
        if is_set || !result.is_empty() {
            self.push_value(&result, quoted, purpose, to);
        }
        Ok(())
    }

    fn all_positional(&self, name: &str, quoted: bool, purpose: Purpose, to: &mut Fields) {
        if name == "*" && quoted || purpose == Purpose::One {
            let separator = match self.value("IFS") {
                Some(separators) if name == "*" => {
                    separators.chars().next().map(String::from).unwrap_or_default()
                }
                _ => " ".to_string(),
            };
            to.push(&self.positional.join(&separator), quoted);
            return;
        }
        for (i, value) in self.positional.iter().enumerate() {
            if i > 0 {
                to.end();
            }
            self.push_value(value, quoted, purpose, to);
        }
    }

    /// `offset` or `offset:length`; negative ones count from the end.
    fn slice(&mut self, value: &str, word: &str) -> Expanded<String> {
        let chars: Vec<char> = value.chars().collect();
        let count = i64::try_from(chars.len()).unwrap_or(i64::MAX);
        let (offset, length) = match word.split_once(':') {
            Some((offset, length)) => (offset, Some(length)),
            None => (word, None),
        };
        let from_end = |n: i64| if n < 0 { (count + n).max(0) } else { n.min(count) };
        let start = from_end(self.arithmetic(offset)?);
        let end = match length {
            None => count,
            Some(length) => match self.arithmetic(length)? {
                length if length < 0 => (count + length).max(start),
                length => start.saturating_add(length).min(count),
            },
        };
        let index = |n: i64| usize::try_from(n).unwrap_or(0);
        Ok(chars[index(start)..index(end)].iter().collect())
    }
}
