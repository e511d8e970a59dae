//! The text of a sed script → commands.

use std::rc::Rc;

use regex_lite::Regex;

use crate::applets::regex::{Dialect, compile};
use crate::call::Failure;

pub(super) enum Address {
    Line(u64),
    /// `first~step`
    Step(u64, u64),
    Last,
    /// `None`: the expression that was used last.
    Matches(Option<Rc<Regex>>),
    /// `addr,+n`
    After(u64),
}

pub(super) struct Command {
    pub(super) from: Option<Address>,
    pub(super) to: Option<Address>,
    pub(super) negated: bool,
    /// Where in a range it is; only ranges use it.
    pub(super) range: Range,
    pub(super) action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Outside,
    Inside { since: u64 },
}

pub(super) enum Action {
    /// `{`: the commands up to this index are for the addressed lines only.
    Block(usize),
    End,
    Label,
    Delete,
    DeleteFirst,
    Print,
    PrintFirst,
    Number,
    List,
    Next,
    Append,
    Quit {
        print: bool,
        status: i32,
    },
    Hold {
        append: bool,
    },
    Get {
        append: bool,
    },
    Exchange,
    /// `a`, `i`, `c`
    Text(char, String),
    Translate(Vec<(char, char)>),
    Substitute(Box<Substitution>),
    /// `b`, `t`, `T`: to this index, or to the end.
    Branch(char, String),
    ReadFile(String),
    WriteFile(String),
}

pub(super) struct Substitution {
    pub(super) regex: Option<Rc<Regex>>,
    pub(super) replacement: Vec<Piece>,
    pub(super) all: bool,
    pub(super) print: bool,
    /// Which occurrence is the first to be replaced.
    pub(super) nth: usize,
    pub(super) file: Option<String>,
}

pub(super) enum Piece {
    Text(String),
    Group(usize),
}

pub(super) struct Parser<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    dialect: Dialect,
    commands: Vec<Command>,
    open: Vec<usize>,
    /// Labels and where they stand.
    pub(super) labels: Vec<(String, usize)>,
}

type Parsed<T> = Result<T, Failure>;

fn wrong<T>(sentence: impl Into<String>) -> Parsed<T> {
    Err(Failure::new(sentence))
}

pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    pub(super) labels: Vec<(String, usize)>,
}

pub(super) fn parse(text: &str, dialect: Dialect) -> Parsed<Script> {
    let chars = text.chars().peekable();
    let mut parser =
        Parser { chars, dialect, commands: Vec::new(), open: Vec::new(), labels: Vec::new() };
    parser.script()?;
    if !parser.open.is_empty() {
        return wrong("unmatched {");
    }
    Ok(Script { commands: parser.commands, labels: parser.labels })
}

impl Parser<'_> {
    fn script(&mut self) -> Parsed<()> {
        loop {
            while self.chars.next_if(|c| c.is_whitespace() || *c == ';').is_some() {}
            match self.chars.peek() {
                None => return Ok(()),
                Some('#') => {
                    self.rest_of_line();
                    continue;
                }
                Some(_) => {}
            }
            let from = self.address()?;
            let mut to = None;
            self.blanks();
            if from.is_some() && self.chars.next_if_eq(&',').is_some() {
                self.blanks();
                to = self.address()?;
                if to.is_none() {
                    return wrong("no address after comma");
                }
            }
            self.blanks();
            let mut negated = false;
            while self.chars.next_if_eq(&'!').is_some() {
                negated = true;
                self.blanks();
            }
            let Some(letter) = self.chars.next() else { return wrong("missing command") };
            let action = self.action(letter)?;
            self.commands.push(Command { from, to, negated, range: Range::Outside, action });
        }
    }

    fn blanks(&mut self) {
        while self.chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
    }

    fn number(&mut self) -> Option<u64> {
        let mut digits = String::new();
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok()
    }

    fn address(&mut self) -> Parsed<Option<Address>> {
        let Some(c) = self.chars.peek().copied() else { return Ok(None) };
        Ok(Some(match c {
            '$' => {
                self.chars.next();
                Address::Last
            }
            '+' => {
                self.chars.next();
                Address::After(self.number().unwrap_or(0))
            }
            '/' | '\\' => {
                self.chars.next();
                let delimiter = if c == '/' { Some('/') } else { self.chars.next() };
                let Some(delimiter) = delimiter else { return wrong("unterminated address") };
                let pattern = self.delimited(delimiter, true)?;
                let ignore_case = self.chars.next_if_eq(&'I').is_some();
                Address::Matches(self.regex(&pattern, ignore_case)?)
            }
            c if c.is_ascii_digit() => {
                let line = self.number().unwrap_or(0);
                match self.chars.next_if_eq(&'~') {
                    Some(_) => Address::Step(line, self.number().unwrap_or(0)),
                    None => Address::Line(line),
                }
            }
            _ => return Ok(None),
        }))
    }

    fn regex(&self, pattern: &str, ignore_case: bool) -> Parsed<Option<Rc<Regex>>> {
        match pattern {
            "" => Ok(None),
            pattern => compile(pattern, self.dialect, ignore_case).map(Rc::new).map(Some),
        }
    }

    /// Up to the delimiter; in an expression a class hides it, and `\n` stays for the expression.
    fn delimited(&mut self, delimiter: char, is_pattern: bool) -> Parsed<String> {
        let mut text = String::new();
        let mut class = 0;
        loop {
            let Some(c) = self.chars.next() else { return wrong("unterminated expression") };
            match c {
                '\\' => match self.chars.next() {
                    Some(c) if c == delimiter && class == 0 => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => return wrong("unterminated expression"),
                },
                c if c == delimiter && class == 0 => return Ok(text),
                '[' if is_pattern && class == 0 => {
                    class = 1;
                    text.push(c);
                }
                ']' if class > 1 => {
                    class = 0;
                    text.push(c);
                }
                c => {
                    class += i32::from(class > 0 && c != '^');
                    text.push(c);
                }
            }
        }
    }

    fn rest_of_line(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| *c != '\n') {
            text.push(c);
        }
        text
    }

    /// Up to the end of a command of one line.
    fn label(&mut self) -> String {
        self.blanks();
        let mut text = String::new();
        while let Some(c) = self.chars.next_if(|c| !matches!(c, '\n' | ';' | '}')) {
            text.push(c);
        }
        text.trim().to_string()
    }

    fn action(&mut self, letter: char) -> Parsed<Action> {
        Ok(match letter {
            '{' => {
                self.open.push(self.commands.len());
                return Ok(Action::Block(usize::MAX));
            }
            '}' => {
                let Some(open) = self.open.pop() else { return wrong("unexpected }") };
                self.commands[open].action = Action::Block(self.commands.len());
                Action::End
            }
            ':' => {
                let label = self.label();
                self.labels.push((label, self.commands.len()));
                Action::Label
            }
            'd' => Action::Delete,
            'D' => Action::DeleteFirst,
            'p' => Action::Print,
            'P' => Action::PrintFirst,
            '=' => Action::Number,
            'l' => Action::List,
            'n' => Action::Next,
            'N' => Action::Append,
            'h' | 'H' => Action::Hold { append: letter == 'H' },
            'g' | 'G' => Action::Get { append: letter == 'G' },
            'x' => Action::Exchange,
            'q' | 'Q' => {
                self.blanks();
                let status = self.number().and_then(|status| i32::try_from(status).ok());
                Action::Quit { print: letter == 'q', status: status.unwrap_or(0) }
            }
            'a' | 'i' | 'c' => Action::Text(letter, self.text()),
            'b' | 't' | 'T' => Action::Branch(letter, self.label()),
            'r' => {
                self.blanks();
                Action::ReadFile(self.rest_of_line())
            }
            'w' => {
                self.blanks();
                Action::WriteFile(self.rest_of_line())
            }
            'y' => self.translation()?,
            's' => self.substitution()?,
            letter => return wrong(format!("unsupported command {letter}")),
        })
    }

    /// `a\` and a line, or the rest of this line.
    fn text(&mut self) -> String {
        self.blanks();
        if self.chars.next_if_eq(&'\\').is_some() {
            self.blanks();
            self.chars.next_if_eq(&'\n');
        }
        let mut text = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                '\n' => break,
                '\\' => text.extend(self.chars.next()),
                c => text.push(c),
            }
        }
        text.push('\n');
        text
    }

    fn translation(&mut self) -> Parsed<Action> {
        let Some(delimiter) = self.chars.next() else { return wrong("unterminated y") };
        let plain = |text: String| -> Vec<char> {
            text.replace("\\n", "\n").replace("\\\\", "\\").chars().collect()
        };
        let from = plain(self.delimited(delimiter, false)?);
        let to = plain(self.delimited(delimiter, false)?);
        if from.len() != to.len() {
            return wrong("y: strings of different lengths");
        }
        Ok(Action::Translate(from.into_iter().zip(to).collect()))
    }

    fn substitution(&mut self) -> Parsed<Action> {
        let Some(delimiter) = self.chars.next() else { return wrong("unterminated s") };
        let pattern = self.delimited(delimiter, true)?;
        let replacement = pieces(&self.delimited(delimiter, false)?);
        let (mut all, mut print, mut nth, mut ignore_case, mut file) =
            (false, false, 1, false, None);
        while let Some(flag) = self.chars.next_if(|c| !matches!(c, ';' | '\n' | '}' | ' ' | '#')) {
            match flag {
                'g' => all = true,
                'p' => print = true,
                'i' | 'I' => ignore_case = true,
                'm' | 'M' => {}
                'w' => {
                    self.blanks();
                    file = Some(self.rest_of_line());
                }
                digit if digit.is_ascii_digit() => {
                    let rest = self.number().map(|rest| rest.to_string()).unwrap_or_default();
                    nth = format!("{digit}{rest}").parse().unwrap_or(1);
                }
                flag => return wrong(format!("unknown option to s: {flag}")),
            }
        }
        let regex = self.regex(&pattern, ignore_case)?;
        Ok(Action::Substitute(Box::new(Substitution { regex, replacement, all, print, nth, file })))
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let group = match c {
            '&' => Some(0),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    digit.to_digit(10).map(|digit| digit as usize)
                }
                Some('n') => {
                    plain.push('\n');
                    None
                }
                Some('t') => {
                    plain.push('\t');
                    None
                }
                Some(c) => {
                    plain.push(c);
                    None
                }
                None => None,
            },
            c => {
                plain.push(c);
                None
            }
        };
        if let Some(group) = group {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Group(group));
        }
    }
    pieces.push(Piece::Text(plain));
    pieces
}
