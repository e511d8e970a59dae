//! Options as getopt(3) reads them, mixed with operands as busybox allows it.

use crate::call::Failure;

/// What a command line said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    given: Vec<(char, String)>,
    pub(crate) operands: Vec<String>,
}

impl Options {
    /// `spec` is getopt's: a letter for each option, `:` after those with a value; a `+` in front
    /// ends the options at the first operand. Long names come as pairs with the letter they mean.
    pub(crate) fn parse(
        args: &[String],
        spec: &str,
        long: &[(&str, char)],
    ) -> Result<Options, Failure> {
        let (stops, spec) = match spec.strip_prefix('+') {
            Some(spec) => (true, spec),
            None => (false, spec),
        };
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                options.operands.extend(args.cloned());
                break;
            }
            if let Some(name) = arg.strip_prefix("--") {
                options.long(name, spec, long, &mut args)?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                options.short(&arg[1..], spec, &mut args)?;
            } else {
                options.operands.push(arg.clone());
                if stops {
                    options.operands.extend(args.cloned());
                    break;
                }
            }
        }
        Ok(options)
    }

    fn short<'a>(
        &mut self,
        mut letters: &str,
        spec: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        while let Some(letter) = letters.chars().next() {
            letters = &letters[letter.len_utf8()..];
            let value = match takes_value(spec, letter) {
                None => return Err(Failure::Said(format!("invalid option -- '{letter}'"), 1)),
                Some(false) => String::new(),
                Some(true) if !letters.is_empty() => std::mem::take(&mut letters).to_string(),
                Some(true) => rest.next().cloned().ok_or_else(|| {
                    Failure::Said(format!("option requires an argument -- '{letter}'"), 1)
                })?,
            };
            self.given.push((letter, value));
        }
        Ok(())
    }

    fn long<'a>(
        &mut self,
        name: &str,
        spec: &str,
        long: &[(&str, char)],
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (name, None),
        };
        let Some((_, letter)) = long.iter().find(|(known, _)| *known == name) else {
            return Err(Failure::Said(format!("unrecognized option '--{name}'"), 1));
        };
        let value = match (takes_value(spec, *letter), value) {
            (Some(true), None) => rest.next().cloned().ok_or_else(|| {
                Failure::Said(format!("option '--{name}' requires an argument"), 1)
            })?,
            (_, value) => value.unwrap_or_default(),
        };
        self.given.push((*letter, value));
        Ok(())
    }

    pub(crate) fn has(&self, letter: char) -> bool {
        self.given.iter().any(|(given, _)| *given == letter)
    }

    /// The last value that was given.
    pub(crate) fn value(&self, letter: char) -> Option<&str> {
        self.values(letter).last()
    }

    pub(crate) fn values(&self, letter: char) -> impl Iterator<Item = &str> {
        self.given
            .iter()
            .filter(move |(given, _)| *given == letter)
            .map(|(_, value)| value.as_str())
    }

    /// Which of these letters came last.
    pub(crate) fn last_of(&self, letters: &str) -> Option<char> {
        self.given.iter().rev().map(|(letter, _)| *letter).find(|letter| letters.contains(*letter))
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, letter: char) -> Result<Option<N>, Failure> {
        self.value(letter).map(number).transpose()
    }
}

/// `None`: there is no such option.
fn takes_value(spec: &str, letter: char) -> Option<bool> {
    let at = spec.find(letter).filter(|_| letter != ':')?;
    Some(spec[at + letter.len_utf8()..].starts_with(':'))
}

pub(crate) fn number<N: std::str::FromStr>(text: &str) -> Result<N, Failure> {
    text.parse().map_err(|_| Failure::new(format!("invalid number '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &str, line: &str, expected: &str) {
        let args: Vec<String> = line.split(' ').map(str::to_string).collect();
        let shown = match Options::parse(&args, spec, &[("all", 'a'), ("name", 'n')]) {
            Ok(options) => format!("{:?} {:?}", options.given, options.operands),
            Err(failure) => format!("{failure:?}"),
        };
        assert_eq!(shown, expected, "{line}");
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        check("an:", "-an3 x", r#"[('a', ""), ('n', "3")] ["x"]"#);
        check("an:", "x -n 3 -- -a", r#"[('n', "3")] ["x", "-a"]"#);
        check("+an:", "-a x -n", r#"[('a', "")] ["x", "-n"]"#);
        check("an:", "--all --name=3 --name 4 -", r#"[('a', ""), ('n', "3"), ('n', "4")] ["-"]"#);
        check("an:", "-n", r#"Said("option requires an argument -- 'n'", 1)"#);
        check("an:", "-b", r#"Said("invalid option -- 'b'", 1)"#);
        check("an:", "--nome", r#"Said("unrecognized option '--nome'", 1)"#);
    }
}
