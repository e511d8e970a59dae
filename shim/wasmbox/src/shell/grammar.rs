//! The grammar: lists, pipelines, compound and simple commands (XCU 2.9).

use std::rc::Rc;

use super::ast::{Command, Job, Kind, Link, Part, Pipeline, Script, Word};
use super::parser::{Parsed, Parser, is_name};

/// Words that end a list of commands where a command could begin.
const CLOSERS: [&str; 8] = ["then", "else", "elif", "fi", "do", "done", "esac", "}"];

impl Parser {
    pub(super) fn list(&mut self, one_line: bool) -> Parsed<Script> {
        let mut script = Script::new();
        loop {
            if one_line {
                self.blanks()
            } else {
                self.line_break()?
            }
            match self.peek() {
                None | Some(')' | '\n') => break,
                Some(';') if self.starts(";;") => break,
                _ if CLOSERS.contains(&self.ahead().as_str()) => break,
                _ => {}
            }
            let (first, rest) = self.chain()?;
            self.blanks();
            let background = self.starts("&") && !self.starts("&&");
            script.push(Job { first, rest, background });
            match self.peek() {
                Some('&' | ';') if !self.starts(";;") => self.at += 1,
                Some('\n') if !one_line => {}
                _ => break,
            }
        }
        Ok(script)
    }

    fn chain(&mut self) -> Parsed<(Pipeline, Vec<(Link, Pipeline)>)> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let link = if self.take("&&") {
                Link::And
            } else if self.take("||") {
                Link::Or
            } else {
                return Ok((first, rest));
            };
            self.line_break()?;
            rest.push((link, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        self.blanks();
        let mut negated = false;
        while self.ahead() == "!" {
            self.at += 1;
            negated = !negated;
            self.blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.starts("||") || !self.take("|") {
                return Ok(Pipeline { negated, commands });
            }
            self.line_break()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        let Some(kind) = self.compound()? else { return self.simple() };
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(Command { kind, redirects }),
            }
        }
    }

    fn compound(&mut self) -> Parsed<Option<Kind>> {
        self.deeper()?;
        let word = self.ahead();
        let kind = if self.take("(") {
            Kind::Subshell(Rc::new(self.script_until_parenthesis()?))
        } else {
            match word.as_str() {
                "{" => {
                    self.at += 1;
                    Kind::Group(self.body("}")?)
                }
                "if" => self.conditional()?,
                "while" | "until" => {
                    self.at += word.len();
                    let condition = self.body("do")?;
                    Kind::While { until: word == "until", condition, body: self.body("done")? }
                }
                "for" => self.iteration()?,
                "case" => self.choice()?,
                "function" => {
                    self.at += word.len();
                    self.blanks();
                    let name = self.name()?;
                    self.blanks();
                    if self.take("(") {
                        self.blanks();
                        self.expect(")")?;
                    }
                    self.function(name)?
                }
                closer if CLOSERS.contains(&closer) => return Err(self.unexpected()),
                _ => {
                    self.depth -= 1;
                    return Ok(None);
                }
            }
        };
        self.depth -= 1;
        Ok(Some(kind))
    }

    /// A list that must not be empty, and the word behind it.
    fn body(&mut self, end: &str) -> Parsed<Script> {
        let script = self.list(false)?;
        if script.is_empty() {
            return Err(self.unexpected());
        }
        self.reserved(end)?;
        Ok(script)
    }

    fn conditional(&mut self) -> Parsed<Kind> {
        let mut arms = Vec::new();
        self.at += 2;
        loop {
            let condition = self.body("then")?;
            let body = self.list(false)?;
            if body.is_empty() {
                return Err(self.unexpected());
            }
            arms.push((condition, body));
            match self.ahead().as_str() {
                "elif" => self.at += 4,
                "else" => {
                    self.at += 4;
                    return Ok(Kind::If { arms, otherwise: Some(self.body("fi")?) });
                }
                _ => {
                    self.reserved("fi")?;
                    return Ok(Kind::If { arms, otherwise: None });
                }
            }
        }
    }

    fn iteration(&mut self) -> Parsed<Kind> {
        self.at += 3;
        self.blanks();
        let name = self.name()?;
        self.line_break()?;
        let mut words = None;
        if self.ahead() == "in" {
            self.at += 2;
            let mut list = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => list.push(word),
                    None => break,
                }
            }
            words = Some(list);
        }
        self.take(";");
        self.line_break()?;
        self.reserved("do")?;
        Ok(Kind::For { name, words, body: self.body("done")? })
    }

    fn choice(&mut self) -> Parsed<Kind> {
        self.at += 4;
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.unexpected())?;
        self.line_break()?;
        self.reserved("in")?;
        let mut arms = Vec::new();
        loop {
            self.line_break()?;
            if self.ahead() == "esac" {
                self.at += 4;
                return Ok(Kind::Case { word, arms });
            }
            self.take("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.unexpected())?);
                self.blanks();
                if !self.take("|") {
                    break;
                }
            }
            self.expect(")")?;
            arms.push((patterns, self.list(false)?));
            if !self.take(";;") && self.ahead() != "esac" {
                return Err(self.unexpected());
            }
        }
    }

    fn function(&mut self, name: String) -> Parsed<Kind> {
        self.line_break()?;
        let body = Rc::new(self.command()?);
        Ok(Kind::Function { name, body })
    }

    fn simple(&mut self) -> Parsed<Command> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
            } else if let Some(name) = self.assignment().filter(|_| words.is_empty()) {
                self.at += name.chars().count() + 1;
                assignments.push((name, self.word()?.unwrap_or_default()));
            } else if let Some(word) = self.word()? {
                words.push(word);
                let is_first = words.len() == 1 && assignments.is_empty() && redirects.is_empty();
                if is_first && self.starts_function() {
                    let name = literal(&words[0]).unwrap_or_default();
                    let kind = self.function(name)?;
                    return Ok(Command { kind, redirects });
                }
            } else if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
                return Err(self.unexpected());
            } else {
                return Ok(Command { kind: Kind::Simple { assignments, words }, redirects });
            }
        }
    }

    /// `()` behind the first word.
    fn starts_function(&mut self) -> bool {
        let before = self.at;
        self.blanks();
        if self.take("(") {
            self.blanks();
            if self.take(")") {
                return true;
            }
        }
        self.at = before;
        false
    }

    /// The name in front of `=`, if that is what comes.
    fn assignment(&self) -> Option<String> {
        let name: String = self.chars[self.at..].iter().take_while(|c| is_name(**c)).collect();
        let first = name.chars().next()?;
        let next = self.chars.get(self.at + name.chars().count());
        (!first.is_ascii_digit() && next == Some(&'=')).then_some(name)
    }
}

/// The word, if it is plain text.
fn literal(word: &Word) -> Option<String> {
    match &word[..] {
        [Part::Text(text)] => Some(text.clone()),
        _ => None,
    }
}
