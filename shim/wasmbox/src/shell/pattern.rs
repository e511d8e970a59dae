//! Patterns of file names and strings (XCU 2.14): `*`, `?`, `[…]`.

use std::path::Path;

/// A character, and whether it was quoted and so means only itself.
pub(crate) type Char = (char, bool);

pub(crate) fn plain(text: &str) -> Vec<Char> {
    text.chars().map(|c| (c, false)).collect()
}

/// Whether all of `text` is what the pattern describes.
pub(crate) fn matches(pattern: &[Char], text: &[char]) -> bool {
    // Where to go on when the rest does not fit: the last `*`, and how much it has eaten.
    let (mut at, mut used) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if let Some(('*', false)) = pattern.get(at) {
            star = Some((at + 1, used));
            at += 1;
            continue;
        }
        match (pattern.get(at), text.get(used)) {
            (None, None) => return true,
            (Some(_), Some(c)) => {
                if let Some(next) = one(pattern, at, *c) {
                    at = next;
                    used += 1;
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((after, eaten)) if eaten < text.len() => {
                star = Some((after, eaten + 1));
                at = after;
                used = eaten + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one character; answers where the pattern goes on.
fn one(pattern: &[Char], at: usize, c: char) -> Option<usize> {
    match pattern[at] {
        ('?', false) => Some(at + 1),
        ('[', false) => match class(pattern, at, c) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (c == '[').then_some(at + 1),
        },
        (own, _) => (own == c).then_some(at + 1),
    }
}

/// `[…]` from `at`: whether `c` is in it and where it ends; `None`: it is none.
fn class(pattern: &[Char], at: usize, c: char) -> Option<(bool, usize)> {
    let mut i = at + 1;
    let negated = matches!(pattern.get(i), Some(('!' | '^', false)));
    i += usize::from(negated);
    let (first, mut found) = (i, false);
    loop {
        let (low, quoted) = *pattern.get(i)?;
        if low == ']' && !quoted && i > first {
            return Some((found != negated, i + 1));
        }
        if low == '[' && !quoted && matches!(pattern.get(i + 1), Some((':', _))) {
            let name: String =
                pattern[i + 2..].iter().map(|(c, _)| *c).take_while(|c| *c != ':').collect();
            i += 2 + name.len() + 2;
            found |= named(&name, c);
            continue;
        }
        match (pattern.get(i + 1), pattern.get(i + 2)) {
            (Some(('-', false)), Some((high, end_quoted))) if *high != ']' || *end_quoted => {
                found |= (low..=*high).contains(&c);
                i += 3;
            }
            _ => {
                found |= low == c;
                i += 1;
            }
        }
    }
}

/// `[:name:]`
pub(crate) fn named(name: &str, c: char) -> bool {
    match name {
        "alpha" => c.is_alphabetic(),
        "digit" => c.is_ascii_digit(),
        "alnum" => c.is_alphanumeric(),
        "upper" => c.is_uppercase(),
        "lower" => c.is_lowercase(),
        "space" => c.is_whitespace(),
        "blank" => c == ' ' || c == '\t',
        "punct" => c.is_ascii_punctuation(),
        "cntrl" => c.is_control(),
        "xdigit" => c.is_ascii_hexdigit(),
        "print" => !c.is_control(),
        "graph" => !c.is_control() && c != ' ',
        _ => false,
    }
}

/// Whether it is more than a name. The command `[` is not: it would have every loop read a folder.
pub(crate) fn is_pattern(pattern: &[Char]) -> bool {
    let has = |wanted: char| pattern.iter().any(|(c, quoted)| *c == wanted && !quoted);
    has('*') || has('?') || has('[') && has(']')
}

pub(crate) fn text(pattern: &[Char]) -> String {
    pattern.iter().map(|(c, _)| *c).collect()
}

/// The paths that a pattern describes, sorted; none if there are none.
pub(crate) fn paths(pattern: &[Char]) -> Vec<String> {
    let mut components: Vec<&[Char]> = pattern.split(|(c, _)| *c == '/').collect();
    let mut found = vec![String::new()];
    if components.first().is_some_and(|first| first.is_empty()) {
        found = vec!["/".to_string()];
        components.remove(0);
    }
    let last = components.len().saturating_sub(1);
    for (i, component) in components.into_iter().enumerate() {
        let mut next = Vec::new();
        for folder in &found {
            if !is_pattern(component) {
                next.push(format!("{folder}{}", text(component)));
            } else {
                next.extend(names(folder, component).map(|name| format!("{folder}{name}")));
            }
        }
        if i < last {
            next.retain(|path| path.is_empty() || Path::new(path).is_dir());
            next.iter_mut().for_each(|path| path.push('/'));
        }
        found = next;
    }
    found.retain(|path| std::fs::symlink_metadata(path).is_ok());
    found.sort();
    found
}

fn names(folder: &str, pattern: &[Char]) -> impl Iterator<Item = String> {
    let hidden = pattern.first().is_some_and(|(c, _)| *c == '.');
    let folder = if folder.is_empty() { "." } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(move |name| hidden || !name.starts_with('.'))
        .filter(|name| matches(pattern, &name.chars().collect::<Vec<_>>()))
        .collect::<Vec<_>>()
        .into_iter()
}

/// `text` without what the pattern describes at its start.
pub(crate) fn trim_start(text: &str, pattern: &[Char], longest: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut lengths: Vec<usize> = (0..=chars.len()).collect();
    if longest {
        lengths.reverse();
    }
    let length = lengths.into_iter().find(|n| matches(pattern, &chars[..*n])).unwrap_or(0);
    chars[length..].iter().collect()
}

/// `text` without what the pattern describes at its end.
pub(crate) fn trim_end(text: &str, pattern: &[Char], longest: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut starts: Vec<usize> = (0..=chars.len()).collect();
    if !longest {
        starts.reverse();
    }
    let start = starts.into_iter().find(|n| matches(pattern, &chars[*n..])).unwrap_or(chars.len());
    chars[..start].iter().collect()
}

/// `text` with `word` for what the pattern describes: the longest, from the left.
pub(crate) fn replace(text: &str, pattern: &[Char], word: &str, all: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut result, mut at) = (String::new(), 0);
    while at < chars.len() {
        match (at + 1..=chars.len()).rev().find(|end| matches(pattern, &chars[at..*end])) {
            Some(end) => {
                result.push_str(word);
                at = end;
                if !all {
                    break;
                }
            }
            None => {
                result.push(chars[at]);
                at += 1;
            }
        }
    }
    result.extend(&chars[at..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], does_not: &[&str]) {
        let fit = |text: &&str| matches(&plain(pattern), &text.chars().collect::<Vec<_>>());
        for text in fits {
            assert!(fit(text), "{pattern} should fit {text}");
        }
        for text in does_not {
            assert!(!fit(text), "{pattern} should not fit {text}");
        }
    }

    #[test]
    fn patterns_describe_strings() {
        check("*", &["", "a", "a/b"], &[]);
        check("a*b*c", &["abc", "aXbYc", "abbcc"], &["abcd", "ac"]);
        check("?", &["a", "ü"], &["", "ab"]);
        check("[a-cx]", &["a", "b", "x"], &["d", ""]);
        check("[!a-c]", &["d"], &["a", ""]);
        check("[]]", &["]"], &["["]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[[:digit:]]*", &["1", "1a"], &["a1"]);
        check("[[:digit:]x-z]", &["1", "y"], &["a"]);
        check("[a", &["[a"], &["a"]);
        check("*.tar.gz", &["x.tar.gz"], &["x.tar.gz.asc", "tar.gz"]);
    }

    #[test]
    fn what_is_quoted_means_itself() {
        assert!(!matches(&[('*', true)], &['a']));
        assert!(matches(&[('*', true)], &['*']));
    }

    #[test]
    fn ends_are_trimmed() {
        assert_eq!(trim_start("a.b.c", &plain("*."), false), "b.c");
        assert_eq!(trim_start("a.b.c", &plain("*."), true), "c");
        assert_eq!(trim_end("a.b.c", &plain(".*"), false), "a.b");
        assert_eq!(trim_end("a.b.c", &plain(".*"), true), "a");
        assert_eq!(trim_end("abc", &plain("x"), true), "abc");
        assert_eq!(replace("a.b.c", &plain("."), "-", true), "a-b-c");
        assert_eq!(replace("a.b.c", &plain(".*"), "", false), "a");
    }
}
