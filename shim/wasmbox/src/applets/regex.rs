//! Regular expressions as POSIX writes them, for `regex-lite`, which is small and linear in time.
//!
//! It takes the leftmost alternative where POSIX takes the longest, and knows no references back
//! inside an expression: those are refused by name.

use regex_lite::{Regex, RegexBuilder};

use crate::call::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `\(`, `\{`, `\+`
    Basic,
    /// `(`, `{`, `+`
    Extended,
    /// No expression, only text.
    Fixed,
}

pub(super) fn compile(
    pattern: &str,
    dialect: Dialect,
    ignore_case: bool,
) -> Result<Regex, Failure> {
    let translated = match dialect {
        Dialect::Fixed => regex_lite::escape(pattern),
        dialect => translate(pattern, dialect)
            .map_err(|wrong| Failure::Said(format!("{pattern}: {wrong}"), 2))?,
    };
    let built = RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(true)
        .build();
    built.map_err(|error| Failure::Said(format!("{pattern}: {error}"), 2))
}

fn translate(pattern: &str, dialect: Dialect) -> Result<String, &'static str> {
    let chars: Vec<char> = pattern.chars().collect();
    let basic = dialect == Dialect::Basic;
    let mut to = String::new();
    let mut at = 0;
    // Where an expression begins, and `*` and `^` mean other things than behind a character.
    let mut start = true;
    while at < chars.len() {
        let c = chars[at];
        let was_start = std::mem::replace(&mut start, false);
        match c {
            '\\' => {
                let next = *chars.get(at + 1).ok_or("Trailing backslash")?;
                at += 1;
                match next {
                    '(' | '|' if basic => {
                        to.push(next);
                        start = true;
                    }
                    ')' | '{' | '}' | '+' | '?' if basic => to.push(next),
                    '1'..='9' => {
                        return Err("a reference back (\\1) is not supported in an expression");
                    }
                    'n' => to.push('\n'),
                    't' => to.push('\t'),
                    '<' => to.push_str(r"\b"),
                    '>' => to.push_str(r"\b"),
                    'b' | 'B' | 'w' | 'W' | 's' | 'S' => {
                        to.push('\\');
                        to.push(next);
                    }
                    next => to.push_str(&regex_lite::escape(&next.to_string())),
                }
            }
            '[' => at = bracket(&chars, at, &mut to)?,
            '*' if was_start => to.push_str(r"\*"),
            '^' if basic && !was_start => to.push_str(r"\^"),
            '$' if basic && !ends(&chars[at + 1..]) => to.push_str(r"\$"),
            '^' => {
                to.push('^');
                start = basic;
            }
            '(' | '|' if !basic => {
                to.push(c);
                start = true;
            }
            '{' if !basic && !is_interval(&chars[at..]) => to.push_str(r"\{"),
            '(' | ')' | '{' | '}' | '+' | '?' | '|' if basic => {
                to.push('\\');
                to.push(c);
            }
            c => to.push(c),
        }
        at += 1;
    }
    Ok(to)
}

/// Whether a basic expression, or a group of it, ends here.
fn ends(rest: &[char]) -> bool {
    matches!(rest, [] | ['\\', ')' | '|', ..])
}

fn is_interval(rest: &[char]) -> bool {
    let inside = rest[1..].iter().take_while(|c| c.is_ascii_digit() || **c == ',').count();
    inside > 0 && rest.get(inside + 1) == Some(&'}')
}

/// `[…]`, where a backslash is only a character. Answers where it ends.
fn bracket(chars: &[char], from: usize, to: &mut String) -> Result<usize, &'static str> {
    const OPEN: &str = "Unmatched [";
    let mut at = from + 1;
    to.push('[');
    if chars.get(at) == Some(&'^') {
        to.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let c = *chars.get(at).ok_or(OPEN)?;
        match c {
            ']' if at > first => {
                to.push(']');
                return Ok(at);
            }
            '[' if matches!(chars.get(at + 1), Some(':')) => {
                let length = chars[at + 2..].iter().position(|c| *c == ':').ok_or(OPEN)?;
                let name: String = chars[at + 2..at + 2 + length].iter().collect();
                to.push_str(&format!("[:{name}:]"));
                at += length + 4;
                continue;
            }
            '[' | ']' | '\\' | '&' | '~' | '^' => {
                to.push('\\');
                to.push(c);
            }
            '-' if at == first || chars.get(at + 1) == Some(&']') => to.push_str(r"\-"),
            c => to.push(c),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, pattern: &str, matches: &[&str], does_not: &[&str]) {
        let regex =
            compile(pattern, dialect, false).unwrap_or_else(|failure| panic!("{failure:?}"));
        for text in matches {
            assert!(regex.is_match(text), "{pattern} should match {text} ({regex})");
        }
        for text in does_not {
            assert!(!regex.is_match(text), "{pattern} should not match {text} ({regex})");
        }
    }

    #[test]
    fn basic_expressions() {
        let check = |pattern, matches, does_not| check(Dialect::Basic, pattern, matches, does_not);
        check("a*b", &["b", "aab"], &["a"]);
        check("*a", &["*a"], &["a"]);
        check("^a$", &["a"], &["ba", "ab"]);
        check("a^b$c", &["a^b$c"], &["abc"]);
        check(r"\(ab\)\{2\}", &["abab"], &["ab"]);
        check("a+(b)", &["a+(b)"], &["aab"]);
        check(r"a\+", &["aa"], &["b"]);
        check(r"a\|b", &["b"], &["c"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[^a-c]", &["d"], &["abc"]);
        check(r"[\n]", &["\\", "n"], &["\n"]);
        check("[[:digit:]]", &["1"], &["a"]);
        check(r"a\.b", &["a.b"], &["axb"]);
        check(r"\<a\>", &["b a c"], &["ba"]);
    }

    #[test]
    fn extended_expressions() {
        let check =
            |pattern, matches, does_not| check(Dialect::Extended, pattern, matches, does_not);
        check("a+(b|c)?d", &["aabd", "ad"], &["bd"]);
        check("^(a|b){2}$", &["ab"], &["a", "abc"]);
        check("a{", &["a{"], &["a"]);
        check(r"\(a\)", &["(a)"], &["a"]);
    }

    #[test]
    fn what_is_not_supported_is_told() {
        let failure = compile(r"\(a\)\1", Dialect::Basic, false).map(|_| ()).unwrap_err();
        assert!(format!("{failure:?}").contains("reference back"), "{failure:?}");
    }
}
