//! Words: quotes, parameters, substitutions.

use std::rc::Rc;

use super::ast::{Part, Script, Use, Word};
use super::parser::{Parsed, Parser, Wrong, is_name};

/// Where a word ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Blank,
    /// `"`
    Quote,
    /// `}`; inside double quotes, single ones are only characters.
    Brace {
        quoted: bool,
    },
    /// `/` or `}`
    Slash {
        quoted: bool,
    },
    /// `))`
    Parentheses,
    /// The end of the text.
    Never,
}

impl Until {
    /// Whether quotes are ordinary characters here, and `\` quotes few others.
    fn is_quoted(self) -> bool {
        match self {
            Until::Quote | Until::Parentheses | Until::Never => true,
            Until::Brace { quoted } | Until::Slash { quoted } => quoted,
            Until::Blank => false,
        }
    }
}

impl Parser {
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        let before = self.at;
        let parts = self.parts(Until::Blank)?;
        Ok((self.at > before).then_some(parts))
    }

    /// The text of a here-document.
    pub(super) fn here_text(&mut self) -> Parsed<Word> {
        self.parts(Until::Never)
    }

    fn parts(&mut self, until: Until) -> Parsed<Word> {
        let mut parts = Word::new();
        let mut text = String::new();
        let mut parentheses = 0;
        loop {
            let Some(c) = self.peek() else {
                if matches!(until, Until::Blank | Until::Never) {
                    break;
                }
                return Err(Wrong::Incomplete);
            };
            let is_end = match until {
                Until::Blank => c.is_whitespace() || ";&|()<>".contains(c),
                Until::Quote => c == '"',
                Until::Brace { .. } => c == '}',
                Until::Slash { .. } => c == '}' || c == '/',
                Until::Parentheses => parentheses == 0 && self.starts("))"),
                Until::Never => false,
            };
            if is_end {
                break;
            }
            if until == Until::Parentheses {
                parentheses += i32::from(c == '(') - i32::from(c == ')');
            }
            let part = match c {
                '\\' => self.escaped(until),
                '\'' if !until.is_quoted() => Some(Part::Quoted(self.single_quoted()?)),
                '"' if matches!(until, Until::Never | Until::Parentheses) => None,
                '"' => {
                    self.at += 1;
                    let word = self.parts(Until::Quote)?;
                    self.at += 1;
                    Some(Part::Double(word))
                }
                '$' => self.dollar(until)?,
                '`' => Some(Part::Command(self.backquoted(until)?)),
                _ => None,
            };
            match part {
                Some(part) => {
                    push_text(&mut parts, &mut text);
                    parts.push(part);
                }
                None => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        push_text(&mut parts, &mut text);
        Ok(parts)
    }

    /// What a backslash makes of the character behind it; `None`: it is one itself.
    fn escaped(&mut self, until: Until) -> Option<Part> {
        let next = self.chars.get(self.at + 1).copied();
        let quotes = match next {
            None => false,
            Some('\n') => {
                self.at += 2;
                return Some(Part::Text(String::new()));
            }
            Some('"') => !matches!(until, Until::Never | Until::Parentheses),
            Some('}') => matches!(until, Until::Brace { .. } | Until::Slash { .. }),
            Some(c) if until.is_quoted() => matches!(c, '$' | '`' | '\\'),
            Some(_) => true,
        };
        let next = next.filter(|_| quotes)?;
        self.at += 2;
        Some(Part::Quoted(next.to_string()))
    }

    fn single_quoted(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek().ok_or(Wrong::Incomplete)?;
            self.at += 1;
            if c == '\'' {
                return Ok(text);
            }
            text.push(c);
        }
    }

    /// `None`: it is only a dollar.
    fn dollar(&mut self, until: Until) -> Parsed<Option<Part>> {
        let Some(next) = self.chars.get(self.at + 1).copied() else { return Ok(None) };
        match next {
            '{' => {
                self.at += 2;
                self.braced(until.is_quoted()).map(Some)
            }
            '(' if self.starts("$((") => {
                let before = self.at;
                self.at += 3;
                match self.parts(Until::Parentheses) {
                    Ok(word) => {
                        self.at += 2;
                        Ok(Some(Part::Arithmetic(word)))
                    }
                    Err(_) => {
                        self.at = before + 2;
                        Ok(Some(Part::Command(Rc::new(self.script_until_parenthesis()?))))
                    }
                }
            }
            '(' => {
                self.at += 2;
                Ok(Some(Part::Command(Rc::new(self.script_until_parenthesis()?))))
            }
            '\'' if until == Until::Blank => {
                self.at += 1;
                let raw = self.single_quoted_with_escapes()?;
                let (text, _) = crate::applets::printf::unescape(&raw);
                Ok(Some(Part::Quoted(String::from_utf8_lossy(&text).into_owned())))
            }
            c if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.at += 2;
                Ok(Some(Part::Parameter { name: c.to_string(), use_: Use::Value }))
            }
            c if is_name(c) => {
                self.at += 1;
                Ok(Some(Part::Parameter { name: self.name()?, use_: Use::Value }))
            }
            _ => Ok(None),
        }
    }

    /// `$'…'`, where `\'` is no end.
    fn single_quoted_with_escapes(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek().ok_or(Wrong::Incomplete)?;
            self.at += 1;
            match c {
                '\'' => return Ok(text),
                '\\' if self.peek() == Some('\'') => {
                    text.push('\'');
                    self.at += 1;
                }
                '\\' => {
                    text.push(c);
                    text.push(self.peek().ok_or(Wrong::Incomplete)?);
                    self.at += 1;
                }
                _ => text.push(c),
            }
        }
    }

    fn braced(&mut self, quoted: bool) -> Parsed<Part> {
        if self.starts("#") && !self.starts("#}") {
            let before = self.at;
            self.at += 1;
            let name = self.parameter()?;
            if self.take("}") {
                return Ok(Part::Parameter { name, use_: Use::Length });
            }
            self.at = before;
        }
        let name = self.parameter()?;
        let use_ = self.use_of_parameter(quoted)?;
        self.expect("}")?;
        Ok(Part::Parameter { name, use_ })
    }

    fn parameter(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(c) if "@*#?-$!".contains(c) => {
                self.at += 1;
                Ok(c.to_string())
            }
            Some(c) if c.is_ascii_digit() => {
                let rest = &self.chars[self.at..];
                let digits: String = rest.iter().take_while(|c| c.is_ascii_digit()).collect();
                self.at += digits.len();
                Ok(digits)
            }
            _ => self.name().map_err(|wrong| match wrong {
                Wrong::Incomplete => Wrong::Incomplete,
                Wrong::Syntax(_) => Wrong::Syntax("bad substitution".to_string()),
            }),
        }
    }

    fn use_of_parameter(&mut self, quoted: bool) -> Parsed<Use> {
        let until = Until::Brace { quoted };
        if self.starts("}") {
            return Ok(Use::Value);
        }
        for (sign, longest) in [("##", true), ("#", false)] {
            if self.take(sign) {
                return Ok(Use::TrimStart {
                    longest,
                    pattern: self.parts(Until::Brace { quoted: false })?,
                });
            }
        }
        for (sign, longest) in [("%%", true), ("%", false)] {
            if self.take(sign) {
                return Ok(Use::TrimEnd {
                    longest,
                    pattern: self.parts(Until::Brace { quoted: false })?,
                });
            }
        }
        if self.take("/") {
            let all = self.take("/");
            let pattern = self.parts(Until::Slash { quoted: false })?;
            let word = if self.take("/") { self.parts(until)? } else { Word::new() };
            return Ok(Use::Replace { all, pattern, word });
        }
        let colon = self.take(":");
        match self.peek() {
            Some(operator) if "-=?+".contains(operator) => {
                self.at += 1;
                Ok(Use::Unless { operator, colon, word: self.parts(until)? })
            }
            Some(_) if colon => Ok(Use::Slice(self.parts(until)?)),
            None => Err(Wrong::Incomplete),
            Some(_) => Err(Wrong::Syntax("bad substitution".to_string())),
        }
    }

    fn backquoted(&mut self, until: Until) -> Parsed<Rc<Script>> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek().ok_or(Wrong::Incomplete)?;
            self.at += 1;
            match c {
                '`' => break,
                '\\' => {
                    let next = self.peek().ok_or(Wrong::Incomplete)?;
                    let quotes =
                        matches!(next, '`' | '\\' | '$') || (next == '"' && until == Until::Quote);
                    if !quotes {
                        text.push('\\');
                    }
                    text.push(next);
                    self.at += 1;
                }
                _ => text.push(c),
            }
        }
        let mut parser = Parser::new(&text);
        let mut script = Script::new();
        loop {
            match parser.next() {
                Ok(Some(jobs)) => script.extend(jobs),
                Ok(None) => return Ok(Rc::new(script)),
                Err(Wrong::Incomplete) => {
                    return Err(Wrong::Syntax("unexpected end of file in `…`".to_string()));
                }
                Err(wrong) => return Err(wrong),
            }
        }
    }
}

fn push_text(parts: &mut Word, text: &mut String) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}
