//! Text → [`Script`], as POSIX's shell grammar has it (XCU 2.10), command by command: what stands
//! before an error in a script has run when the error is told.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use super::ast::{Part, Redirect, RedirectKind, Script, Word};

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

pub(crate) struct Parser {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pending: Vec<HereDocument>,
    /// Constructs in constructs; each takes stack.
    pub(super) depth: usize,
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

    pub(super) fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Wrong::Syntax(format!("more than {DEEPEST} constructs in each other")));
        }
        Ok(())
    }

    pub(super) fn redirect(&mut self) -> Parsed<Option<Redirect>> {
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

    pub(super) fn reserved(&mut self, word: &str) -> Parsed<()> {
        if self.ahead() == word { self.expect(word) } else { Err(self.unexpected()) }
    }

    /// The characters up to the next one that no word without quotes has.
    pub(super) fn ahead(&self) -> String {
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
    pub(super) fn blanks(&mut self) {
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

    pub(super) fn line_break(&mut self) -> Parsed<()> {
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
