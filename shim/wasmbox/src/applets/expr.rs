//! `expr`.

use super::regex::{Dialect, compile};
use crate::call::{Call, Failure, Outcome};

pub(super) fn expr(call: &Call<'_>) -> Outcome {
    let words: Vec<&str> = call.args.iter().map(String::as_str).collect();
    let mut parser = Parser { words: &words, at: 0 };
    let value = parser.level(0)?;
    if parser.at < words.len() || words.is_empty() {
        return Err(Failure::Said("syntax error".to_string(), 2));
    }
    writeln!(call.out(), "{value}")?;
    Ok(i32::from(is_null(&value)))
}

fn is_null(value: &str) -> bool {
    value.is_empty() || value.parse() == Ok(0i64)
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

/// From the loosest to the tightest.
const LEVELS: [&[&str]; 6] = [
    &["|"],
    &["&"],
    &["=", "==", "!=", "<", "<=", ">", ">="],
    &["+", "-"],
    &["*", "/", "%"],
    &[":"],
];

impl Parser<'_> {
    fn level(&mut self, level: usize) -> Result<String, Failure> {
        let Some(operators) = LEVELS.get(level) else { return self.primary() };
        let mut left = self.level(level + 1)?;
        while let Some(operator) =
            self.words.get(self.at).copied().filter(|word| operators.contains(word))
        {
            self.at += 1;
            let right = self.level(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<String, Failure> {
        let wrong = || Failure::Said("syntax error".to_string(), 2);
        let word = *self.words.get(self.at).ok_or_else(wrong)?;
        self.at += 1;
        match word {
            "(" => {
                let value = self.level(0)?;
                if self.words.get(self.at) != Some(&")") {
                    return Err(wrong());
                }
                self.at += 1;
                Ok(value)
            }
            "length" if self.at < self.words.len() => {
                Ok(self.primary()?.chars().count().to_string())
            }
            "match" => {
                let (text, pattern) = (self.primary()?, self.primary()?);
                apply(":", text, pattern)
            }
            "substr" => {
                let (text, from, count) = (self.primary()?, self.primary()?, self.primary()?);
                let (from, count) = (number(&from)?, number(&count)?);
                let from = usize::try_from(from - 1).unwrap_or(usize::MAX);
                let count = usize::try_from(count).unwrap_or(0);
                Ok(text.chars().skip(from).take(count).collect())
            }
            "index" => {
                let (text, set) = (self.primary()?, self.primary()?);
                Ok(text.chars().position(|c| set.contains(c)).map_or(0, |at| at + 1).to_string())
            }
            word => Ok(word.to_string()),
        }
    }
}

fn number(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| Failure::Said("non-numeric argument".to_string(), 2))
}

fn apply(operator: &str, left: String, right: String) -> Result<String, Failure> {
    let truth = |holds: bool| Ok(i32::from(holds).to_string());
    match operator {
        "|" if is_null(&left) => Ok(if is_null(&right) { "0".to_string() } else { right }),
        "|" => Ok(left),
        "&" => Ok(if is_null(&left) || is_null(&right) { "0".to_string() } else { left }),
        ":" => {
            let regex = compile(&format!("^{right}"), Dialect::Basic, false)?;
            let groups = right.contains("\\(");
            Ok(match regex.captures(&left) {
                Some(found) if groups => {
                    found.get(1).map_or("", |group| group.as_str()).to_string()
                }
                Some(found) => {
                    found.get(0).map_or(0, |all| all.as_str().chars().count()).to_string()
                }
                None if groups => String::new(),
                None => "0".to_string(),
            })
        }
        "+" | "-" | "*" | "/" | "%" => {
            let (left, right) = (number(&left)?, number(&right)?);
            let value = match operator {
                "+" => left.wrapping_add(right),
                "-" => left.wrapping_sub(right),
                "*" => left.wrapping_mul(right),
                _ if right == 0 => return Err(Failure::Said("division by zero".to_string(), 2)),
                "/" => left.wrapping_div(right),
                _ => left.wrapping_rem(right),
            };
            Ok(value.to_string())
        }
        _ => {
            let order = match (left.parse::<i64>(), right.parse::<i64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                _ => left.cmp(&right),
            };
            truth(match operator {
                "=" | "==" => order.is_eq(),
                "!=" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
    }
}
