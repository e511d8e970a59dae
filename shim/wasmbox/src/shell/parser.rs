//! Text → [`Script`], as POSIX's shell grammar has it (XCU 2.10), command by command: what stands
//! before an error in a script has run when the error is told.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use super::ast::{Command, Job, Kind, Link, Part, Pipeline, Redirect, RedirectKind, Script, Word};

/// Why there is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It could go on, if there were more text.
    Incomplete,
    Syntax(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Incomplete => f.write_str("syntax error: unexpected end of file"),
            Wrong::Syntax(what) => write!(f, "syntax error: {what}"),
        }
    }
}

pub(super) type Parsed<T> = Result<T, Wrong>;

/// Words that end a list of commands where a command could begin.
const CLOSERS: [&str; 8] = ["then", "else", "elif", "fi", "do", "done", "esac", "}"];

pub(crate) struct Parser {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pending: Vec<HereDocument>,
    /// Constructs in constructs; each takes stack.
    depth: usize,
}

const DEEPEST: usize = 200;

struct HereDocument {
    delimiter: String,
    /// `<<-`
    without_tabs: bool,
    quoted: bool,
    slot: Rc<OnceCell<Word>>,
}

impl Parser {
    pub(crate) fn new(text: &str) -> Parser {
        Parser { chars: text.chars().collect(), at: 0, pending: Vec::new(), depth: 0 }
    }

    /// The next line's commands, or what follows on more lines; `None` at the end.
    pub(crate) fn next(&mut self) -> Parsed<Option<Script>> {
        self.line_break()?;
        if self.peek().is_none() {
            return Ok(None);
        }
        let script = self.list(true)?;
        match self.peek() {
            None => {
                self.here_documents()?;
                Ok(Some(script))
            }
            Some('\n') => {
                self.newline()?;
                Ok(Some(script))
            }
            Some(_) => Err(self.unexpected()),
        }
    }

    /// How far the text has been used up, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.chars[..self.at].iter().map(|c| c.len_utf8()).sum()
    }

    pub(super) fn script_until_parenthesis(&mut self) -> Parsed<Script> {
        self.deeper()?;
        let script = self.list(false)?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(script)
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Wrong::Syntax(format!("more than {DEEPEST} constructs in each other")));
        }
        Ok(())
    }

    fn list(&mut self, one_line: bool) -> Parsed<Script> {
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

    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        let digits: String =
            self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        let operator = self.chars.get(self.at + digits.len());
        let is_all = self.starts("&>");
        if !is_all && !matches!(operator, Some('<' | '>')) {
            return Ok(None);
        }
        let Ok(fd) = (if digits.is_empty() { Ok(None) } else { digits.parse().map(Some) }) else {
            return Ok(None);
        };
        self.at += digits.len();
        let operators = ["&>", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"];
        let operator = operators.into_iter().find(|operator| self.take(operator)).unwrap_or(">");
        self.blanks();
        let from = self.at;
        let target = self.word()?.ok_or_else(|| self.unexpected())?;
        let (fd_by_default, kind) = match operator {
            "<" => (0, RedirectKind::Read),
            "<>" => (0, RedirectKind::Both),
            "<&" => (0, RedirectKind::Duplicate),
            ">&" => (1, RedirectKind::Duplicate),
            ">>" => (1, RedirectKind::Append),
            "&>" => (1, RedirectKind::All),
            "<<" | "<<-" => {
                let raw = &self.chars[from..self.at];
                let quoted = raw.iter().any(|c| matches!(c, '\'' | '"' | '\\'));
                let delimiter = raw.iter().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
                let slot = Rc::new(OnceCell::new());
                let without_tabs = operator == "<<-";
                let document = HereDocument { delimiter, without_tabs, quoted, slot: slot.clone() };
                self.pending.push(document);
                (0, RedirectKind::Here(slot))
            }
            _ => (1, RedirectKind::Write),
        };
        Ok(Some(Redirect { fd: fd.or(Some(fd_by_default)), kind, target }))
    }

    fn newline(&mut self) -> Parsed<()> {
        self.at += 1;
        self.here_documents()
    }

    fn here_documents(&mut self) -> Parsed<()> {
        for document in std::mem::take(&mut self.pending) {
            let mut body = String::new();
            loop {
                if self.at >= self.chars.len() {
                    return Err(Wrong::Incomplete);
                }
                let rest = &self.chars[self.at..];
                let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let mut line: String = rest[..length].iter().collect();
                self.at = (self.at + length + 1).min(self.chars.len());
                if document.without_tabs {
                    line = line.trim_start_matches('\t').to_string();
                }
                if line == document.delimiter {
                    break;
                }
                body.push_str(&line);
                body.push('\n');
            }
            let word = match document.quoted {
                true => vec![Part::Quoted(body)],
                false => Parser::new(&body).here_text()?,
            };
            let _ = document.slot.set(word);
        }
        Ok(())
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn starts(&self, text: &str) -> bool {
        let mut chars = self.chars[self.at..].iter();
        text.chars().all(|c| chars.next() == Some(&c))
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.starts(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn reserved(&mut self, word: &str) -> Parsed<()> {
        if self.ahead() == word { self.expect(word) } else { Err(self.unexpected()) }
    }

    /// The characters up to the next one that no word without quotes has.
    fn ahead(&self) -> String {
        let is_end = |c: &char| c.is_whitespace() || ";&|()<>".contains(*c);
        self.chars[self.at..].iter().take_while(|c| !is_end(c)).take(12).collect()
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        let name: String = self.chars[self.at..].iter().take_while(|c| is_name(**c)).collect();
        if name.chars().next().is_none_or(|first| first.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        self.at += name.chars().count();
        Ok(name)
    }

    /// Spaces, comments, and lines that go on.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\\') if self.starts("\\\n") => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn line_break(&mut self) -> Parsed<()> {
        self.blanks();
        while self.peek() == Some('\n') {
            self.newline()?;
            self.blanks();
        }
        Ok(())
    }

    pub(super) fn unexpected(&self) -> Wrong {
        match self.peek() {
            None => Wrong::Incomplete,
            Some('\n') => Wrong::Syntax("unexpected newline".to_string()),
            Some(c) => {
                let ahead = self.ahead();
                let what = if ahead.is_empty() { c.to_string() } else { ahead };
                Wrong::Syntax(format!("unexpected \"{what}\""))
            }
        }
    }
}

pub(super) fn is_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// The word, if it is plain text.
pub(super) fn literal(word: &Word) -> Option<String> {
    match &word[..] {
        [Part::Text(text)] => Some(text.clone()),
        _ => None,
    }
}
