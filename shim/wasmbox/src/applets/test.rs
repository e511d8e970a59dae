//! `test`, `[`: what is true of strings, numbers and files.

use std::fs::{File, Metadata};
use std::time::SystemTime;

use crate::call::{Call, Failure, Outcome};

pub(super) fn test(call: &Call<'_>) -> Outcome {
    answer(call.args, call.streams.terminals())
}

pub(super) fn bracket(call: &Call<'_>) -> Outcome {
    let close = if call.name == "[[" { "]]" } else { "]" };
    match call.args.split_last() {
        Some((last, args)) if last == close => answer(args, call.streams.terminals()),
        _ => Err(Failure::Said(format!("missing {close}"), 2)),
    }
}

fn answer(args: &[String], terminals: [bool; 3]) -> Outcome {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match evaluate(&words, terminals) {
        Ok(truth) => Ok(i32::from(!truth)),
        Err(sentence) => Err(Failure::Said(sentence, 2)),
    }
}

type Truth = Result<bool, String>;

/// POSIX says by the number of words what they mean, so that `test "$x" = y` holds for any `$x`.
fn evaluate(words: &[&str], terminals: [bool; 3]) -> Truth {
    match words {
        [] => Ok(false),
        [word] => Ok(!word.is_empty()),
        ["!", word] => Ok(word.is_empty()),
        [operator, word] => unary(operator, word, terminals)
            .unwrap_or_else(|| Err(format!("{operator}: unknown operand"))),
        [left, operator, right] if is_binary(operator) => binary(left, operator, right),
        ["!", rest @ ..] if words.len() <= 4 => Ok(!evaluate(rest, terminals)?),
        ["(", word, ")"] => Ok(!word.is_empty()),
        ["(", a, b, ")"] => evaluate(&[a, b], terminals),
        words => {
            let mut parser = Parser { words, at: 0, terminals };
            let truth = parser.or()?;
            match parser.words.get(parser.at) {
                None => Ok(truth),
                Some(word) => Err(format!("{word}: unknown operand")),
            }
        }
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    terminals: [bool; 3],
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Truth {
        let mut truth = self.and()?;
        while self.take("-o") {
            truth |= self.and()?;
        }
        Ok(truth)
    }

    fn and(&mut self) -> Truth {
        let mut truth = self.not()?;
        while self.take("-a") {
            truth &= self.not()?;
        }
        Ok(truth)
    }

    fn not(&mut self) -> Truth {
        if self.take("!") { Ok(!self.not()?) } else { self.primary() }
    }

    fn primary(&mut self) -> Truth {
        let rest = &self.words[self.at..];
        if let [left, operator, right, ..] = rest
            && is_binary(operator)
        {
            self.at += 3;
            return binary(left, operator, right);
        }
        if self.take("(") {
            let truth = self.or()?;
            return if self.take(")") {
                Ok(truth)
            } else {
                Err("closing paren expected".to_string())
            };
        }
        match rest {
            [operator, word, ..] if unary(operator, word, self.terminals).is_some() => {
                self.at += 2;
                unary(operator, word, self.terminals).unwrap_or(Ok(false))
            }
            [word, ..] => {
                self.at += 1;
                Ok(!word.is_empty())
            }
            [] => Err("argument expected".to_string()),
        }
    }
}

const BINARY: [&str; 15] = [
    "=", "==", "!=", "<", ">", "=~", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef",
];

fn is_binary(operator: &str) -> bool {
    BINARY.contains(&operator)
}

fn binary(left: &str, operator: &str, right: &str) -> Truth {
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("{text}: bad number"));
    let numbers = |holds: fn(&i64, &i64) -> bool| Ok(holds(&number(left)?, &number(right)?));
    let time = |name: &str| std::fs::metadata(name).and_then(|file| file.modified()).ok();
    Ok(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        ">" => left > right,
        "-eq" => return numbers(i64::eq),
        "-ne" => return numbers(i64::ne),
        "-lt" => return numbers(i64::lt),
        "-le" => return numbers(i64::le),
        "-gt" => return numbers(i64::gt),
        "-ge" => return numbers(i64::ge),
        "-nt" => time(left) > time(right),
        "-ot" => time(left) < time(right) && time(right).is_some(),
        "-ef" => match (rustix::fs::stat(left), rustix::fs::stat(right)) {
            (Ok(left), Ok(right)) => (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino),
            _ => false,
        },
        _ => return Err(format!("{operator}: unknown operand")),
    })
}

/// `None`: it is no operator.
fn unary(operator: &str, word: &str, terminals: [bool; 3]) -> Option<Truth> {
    let file = || std::fs::metadata(word).ok();
    let holds = |holds: fn(&Metadata) -> bool| file().as_ref().is_some_and(holds);
    Some(Ok(match operator {
        "-n" => !word.is_empty(),
        "-z" => word.is_empty(),
        "-e" | "-a" => file().is_some(),
        "-f" => holds(Metadata::is_file),
        "-d" => holds(Metadata::is_dir),
        "-s" => holds(|file| file.len() > 0),
        "-h" | "-L" => std::fs::symlink_metadata(word).is_ok_and(|file| file.is_symlink()),
        "-b" | "-c" | "-p" | "-S" => special(operator, word),
        "-r" => readable(word),
        "-w" => writable(word),
        "-x" => executable(word),
        // WASI knows neither owners nor modes: files are the guest's, and have no such bit.
        "-O" | "-G" => file().is_some(),
        "-u" | "-g" | "-k" => false,
        "-t" => word.parse().is_ok_and(|fd: usize| terminals.get(fd) == Some(&true)),
        "-N" => file().is_some_and(|file| {
            file.modified().ok() > file.accessed().ok().or(Some(SystemTime::UNIX_EPOCH))
        }),
        _ => return None,
    }))
}

fn special(operator: &str, word: &str) -> bool {
    let kind = rustix::fs::stat(word).map(|stat| super::ls::letter(&stat));
    let wanted = match operator {
        "-b" => 'b',
        "-c" => 'c',
        "-p" => 'p',
        _ => 's',
    };
    kind == Ok(wanted)
}

fn readable(word: &str) -> bool {
    match std::fs::metadata(word) {
        Ok(file) if file.is_dir() => std::fs::read_dir(word).is_ok(),
        Ok(file) if file.is_file() => File::open(word).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn writable(word: &str) -> bool {
    match std::fs::metadata(word) {
        Ok(file) if file.is_file() => File::options().append(true).open(word).is_ok(),
        // There is no way to ask, so it is tried.
        Ok(file) if file.is_dir() => {
            let Ok(path) =
                crate::streams::unused_name(std::path::Path::new(word), ".wasmbox-test.XXXXXX")
            else {
                return false;
            };
            File::create_new(&path).is_ok() && std::fs::remove_file(path).is_ok()
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// WASI tells no modes: what could run is what looks like a program.
#[cfg(target_os = "wasi")]
fn executable(word: &str) -> bool {
    match std::fs::metadata(word) {
        Ok(file) if file.is_dir() => true,
        Ok(_) => {
            let mut start = [0; 4];
            let read =
                File::open(word).and_then(|mut file| std::io::Read::read(&mut file, &mut start));
            read.is_ok() && (start.starts_with(b"#!") || start == *b"\0asm" || start == *b"\x7fELF")
        }
        Err(_) => false,
    }
}

#[cfg(not(target_os = "wasi"))]
fn executable(word: &str) -> bool {
    rustix::fs::stat(word).is_ok_and(|file| file.st_mode & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Truth) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "''" { "" } else { word }).collect();
        assert_eq!(evaluate(&words, [true, false, false]), expected, "{line}");
    }

    #[test]
    fn expressions_are_true_or_not() {
        for line in [
            "a",
            "-n a",
            "-z ''",
            "a = a",
            "a != b",
            "1 -eq 01",
            "-1 -lt 0",
            "2 -ge 2",
            "! a = b",
            "! ''",
            "! ! a",
            "( a )",
            "( a = a )",
            "( ! '' )",
            "a -a b",
            "'' -o b",
            "a = b -o b = b",
            "! a = b -a c",
            "-n",
            "= = =",
            "! = !",
            "-z = -z",
            "( = (",
            "a < b",
            "-d /",
            "-e /",
            "! -f /",
            "-t 0",
            "-n a -a ( -z '' -o x = y )",
        ] {
            check(line, Ok(true));
        }
        for line in [
            "",
            "''",
            "-z a",
            "-n ''",
            "a = b",
            "1 -ne 1",
            "! a",
            "a -a ''",
            "'' -o ''",
            "-e /no/such",
            "-t 9",
            "-t 1",
        ] {
            check(line, Ok(false));
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        check("a -eq 1", Err("a: bad number".to_string()));
        check("a b c", Err("b: unknown operand".to_string()));
        check("-q a", Err("-q: unknown operand".to_string()));
        check("a = b -a", Err("argument expected".to_string()));
    }
}
