//! `find`.

use std::fs::{self, Metadata};
use std::time::{Duration, SystemTime};

use super::tree::{child, names};
use crate::call::{Call, Failure, Outcome};
use crate::shell::pattern::{Char, matches, plain};

enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Always(bool),
    Name {
        pattern: Vec<Char>,
        whole: bool,
        fold: bool,
    },
    Kind(char),
    Empty,
    Size(Order, u64, u64),
    /// Age in units of so many seconds.
    Age(Order, u64, u64),
    Newer(SystemTime),
    Print {
        end: char,
    },
    Prune,
    Delete,
    Quit,
    Run {
        words: Vec<String>,
        each: bool,
    },
}

#[derive(Clone, Copy)]
enum Order {
    Less,
    Exactly,
    More,
}

impl Order {
    fn holds(self, value: u64, than: u64) -> bool {
        match self {
            Order::Less => value < than,
            Order::Exactly => value == than,
            Order::More => value > than,
        }
    }
}

pub(super) fn find(call: &Call<'_>) -> Outcome {
    let is_expression =
        |word: &String| word.starts_with('-') && word.len() > 1 || word == "(" || word == "!";
    let from = call.args.iter().position(is_expression).unwrap_or(call.args.len());
    let (roots, words) = call.args.split_at(from);
    let mut parser = Parser { words, at: 0, least: 0, most: u32::MAX, acts: false, depth: false };
    let mut test = parser.or()?;
    if let Some(word) = words.get(parser.at) {
        return Err(Failure::new(format!("unrecognized: {word}")));
    }
    if !parser.acts {
        test = Test::And(vec![test, Test::Print { end: '\n' }]);
    }
    let (least, most, depth_first) = (parser.least, parser.most, parser.depth);
    let mut walk = Walk {
        call,
        test: &test,
        least,
        most,
        depth_first,
        collected: Vec::new(),
        status: 0,
        quit: false,
    };
    let here = [".".to_string()];
    for root in if roots.is_empty() { &here } else { roots } {
        walk.visit(root, 0)?;
    }
    let (collected, status) = (walk.collected, walk.status);
    run_collected(call, &test, &collected)?;
    Ok(status)
}

struct Parser<'a> {
    words: &'a [String],
    at: usize,
    least: u32,
    most: u32,
    /// There is an action, so nothing is printed unasked.
    acts: bool,
    depth: bool,
}

impl Parser<'_> {
    fn take(&mut self, choices: &[&str]) -> bool {
        let found = self.words.get(self.at).is_some_and(|word| choices.contains(&word.as_str()));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Test, Failure> {
        let mut tests = vec![self.and()?];
        while self.take(&["-o", "-or"]) {
            tests.push(self.and()?);
        }
        Ok(Test::Or(tests))
    }

    fn and(&mut self) -> Result<Test, Failure> {
        let mut tests = Vec::new();
        loop {
            self.take(&["-a", "-and"]);
            match self.words.get(self.at).map(String::as_str) {
                None | Some(")" | "-o" | "-or") => return Ok(Test::And(tests)),
                Some(_) => tests.push(self.one()?),
            }
        }
    }

    fn value(&mut self) -> Result<&str, Failure> {
        self.at += 1;
        match self.words.get(self.at - 1) {
            Some(word) => Ok(word),
            None => Err(Failure::new(format!("{} requires an argument", self.words[self.at - 2]))),
        }
    }

    fn number(&mut self) -> Result<u32, Failure> {
        crate::options::number(self.value()?)
    }

    /// `+5`, `-5`, `5`, and what stands behind the digits.
    fn order(&mut self) -> Result<(Order, u64, String), Failure> {
        let text = self.value()?;
        let (order, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Order::More, rest),
            Some(("-", rest)) => (Order::Less, rest),
            _ => (Order::Exactly, text),
        };
        let digits = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        Ok((order, crate::options::number(digits)?, rest[digits.len()..].to_string()))
    }

    fn one(&mut self) -> Result<Test, Failure> {
        if self.take(&["!", "-not"]) {
            return Ok(Test::Not(Box::new(self.one()?)));
        }
        if self.take(&["("]) {
            let test = self.or()?;
            return if self.take(&[")"]) { Ok(test) } else { Err(Failure::new("missing )")) };
        }
        let word = self.words[self.at].clone();
        self.at += 1;
        let name = |pattern: &str, whole, fold: bool| {
            let pattern = if fold { pattern.to_lowercase() } else { pattern.to_string() };
            Test::Name { pattern: plain(&pattern), whole, fold }
        };
        let always = Ok(Test::Always(true));
        match word.as_str() {
            "-name" => Ok(name(self.value()?, false, false)),
            "-iname" => Ok(name(self.value()?, false, true)),
            "-path" | "-wholename" => Ok(name(self.value()?, true, false)),
            "-ipath" => Ok(name(self.value()?, true, true)),
            "-type" => Ok(Test::Kind(self.value()?.chars().next().unwrap_or('f'))),
            "-empty" => Ok(Test::Empty),
            "-true" => always,
            "-false" => Ok(Test::Always(false)),
            "-size" => {
                let (order, number, unit) = self.order()?;
                let unit = match unit.as_str() {
                    "c" => 1,
                    "k" => 1 << 10,
                    "M" => 1 << 20,
                    "G" => 1 << 30,
                    _ => 512,
                };
                Ok(Test::Size(order, number, unit))
            }
            "-mtime" | "-mmin" => {
                let (order, number, _) = self.order()?;
                Ok(Test::Age(order, number, if word == "-mmin" { 60 } else { 86400 }))
            }
            "-newer" => {
                let file = self.value()?;
                let time = fs::metadata(file).and_then(|file| file.modified());
                Ok(Test::Newer(time.map_err(|error| Failure::of(file, &error))?))
            }
            "-maxdepth" => {
                self.most = self.number()?;
                always
            }
            "-mindepth" => {
                self.least = self.number()?;
                always
            }
            "-depth" => {
                self.depth = true;
                always
            }
            "-xdev" | "-mount" | "-follow" | "-noleaf" => always,
            "-print" => self.action(Test::Print { end: '\n' }),
            "-print0" => self.action(Test::Print { end: '\0' }),
            "-prune" => Ok(Test::Prune),
            "-quit" => self.action(Test::Quit),
            "-delete" => {
                self.depth = true;
                self.action(Test::Delete)
            }
            "-exec" | "-ok" => {
                let rest = &self.words[self.at..];
                let end = rest.iter().position(|word| word == ";" || word == "+");
                let end = end.ok_or_else(|| Failure::new("-exec needs ; or + at its end"))?;
                let words = rest[..end].to_vec();
                let each = rest[end] == ";";
                self.at += end + 1;
                self.action(Test::Run { words, each })
            }
            "-perm" | "-user" | "-group" | "-uid" | "-gid" | "-nouser" => {
                Err(Failure::new(format!("{word}: WASI knows neither modes nor owners of files")))
            }
            _ => Err(Failure::new(format!("unrecognized: {word}"))),
        }
    }

    fn action(&mut self, test: Test) -> Result<Test, Failure> {
        self.acts = true;
        Ok(test)
    }
}

struct Walk<'a> {
    call: &'a Call<'a>,
    test: &'a Test,
    least: u32,
    most: u32,
    depth_first: bool,
    /// What `-exec … +` will get.
    collected: Vec<String>,
    status: i32,
    quit: bool,
}

impl Walk<'_> {
    fn visit(&mut self, path: &str, depth: u32) -> Result<(), Failure> {
        let file = match fs::symlink_metadata(path) {
            Ok(file) => file,
            Err(error) => {
                self.status = self.call.complain_of(path, &error);
                return Ok(());
            }
        };
        let mut prune = false;
        if !self.depth_first && depth >= self.least && !self.quit {
            self.holds(self.test, path, &file, &mut prune)?;
        }
        if file.is_dir() && depth < self.most && !prune && !self.quit {
            match names(path) {
                Ok(names) => {
                    for name in names {
                        self.visit(&child(path, &name), depth + 1)?;
                    }
                }
                Err(error) => self.status = self.call.complain_of(path, &error),
            }
        }
        if self.depth_first && depth >= self.least && !self.quit {
            self.holds(self.test, path, &file, &mut prune)?;
        }
        Ok(())
    }

    fn holds(
        &mut self,
        test: &Test,
        path: &str,
        file: &Metadata,
        prune: &mut bool,
    ) -> Result<bool, Failure> {
        Ok(match test {
            Test::And(tests) => {
                for test in tests {
                    if !self.holds(test, path, file, prune)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Or(tests) => {
                for test in tests {
                    if self.holds(test, path, file, prune)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::Not(test) => !self.holds(test, path, file, prune)?,
            Test::Always(truth) => *truth,
            Test::Name { pattern, whole, fold } => {
                let last = path
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .filter(|last| !last.is_empty())
                    .unwrap_or(path);
                let text = if *whole { path } else { last };
                let text = if *fold { text.to_lowercase() } else { text.to_string() };
                matches(pattern, &text.chars().collect::<Vec<_>>())
            }
            Test::Kind(kind) => match kind {
                'f' => file.is_file(),
                'd' => file.is_dir(),
                'l' => file.is_symlink(),
                kind => rustix::fs::lstat(path).is_ok_and(|stat| super::ls::letter(&stat) == *kind),
            },
            Test::Empty if file.is_dir() => names(path).is_ok_and(|names| names.is_empty()),
            Test::Empty => file.is_file() && file.len() == 0,
            Test::Size(order, number, unit) => order.holds(file.len().div_ceil(*unit), *number),
            Test::Age(order, number, unit) => {
                let age = file
                    .modified()
                    .ok()
                    .and_then(|time| SystemTime::now().duration_since(time).ok());
                order.holds(age.unwrap_or(Duration::ZERO).as_secs() / unit, *number)
            }
            Test::Newer(time) => file.modified().is_ok_and(|own| own > *time),
            Test::Print { end } => {
                write!(self.call.out(), "{path}{end}")?;
                true
            }
            Test::Prune => {
                *prune = true;
                true
            }
            Test::Quit => {
                self.quit = true;
                true
            }
            Test::Delete => {
                let deleted =
                    if file.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
                if let Err(error) = &deleted {
                    self.status = self.call.complain_of(path, error);
                }
                deleted.is_ok()
            }
            Test::Run { words, each: true } => {
                let words: Vec<String> =
                    words.iter().map(|word| word.replace("{}", path)).collect();
                self.call.run(&words)? == 0
            }
            Test::Run { each: false, .. } => {
                self.collected.push(path.to_string());
                true
            }
        })
    }
}

/// `-exec … {} +`: once, with all that was found.
fn run_collected(call: &Call<'_>, test: &Test, collected: &[String]) -> Result<(), Failure> {
    match test {
        Test::And(tests) | Test::Or(tests) => {
            tests.iter().try_for_each(|test| run_collected(call, test, collected))
        }
        Test::Not(test) => run_collected(call, test, collected),
        Test::Run { words, each: false } if !collected.is_empty() => {
            let words: Vec<String> = words
                .iter()
                .flat_map(|word| if word == "{}" { collected.to_vec() } else { vec![word.clone()] })
                .collect();
            call.run(&words).map(drop)
        }
        _ => Ok(()),
    }
}
