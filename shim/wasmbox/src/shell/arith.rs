//! `$((…))`: C's integer expressions over shell variables.

/// What an expression reads and writes.
pub(crate) trait Variables {
    fn get(&self, name: &str) -> Option<String>;
    fn set(&mut self, name: &str, value: i64) -> Result<(), String>;
}

pub(crate) fn evaluate(text: &str, variables: &mut dyn Variables) -> Result<i64, String> {
    evaluate_at(text, variables, 0)
}

/// A variable's value is an expression, too, and may name a variable: to this depth.
const DEEPEST: u32 = 64;

fn evaluate_at(text: &str, variables: &mut dyn Variables, depth: u32) -> Result<i64, String> {
    if depth > DEEPEST {
        return Err("arithmetic: expression too deep".to_string());
    }
    let chars = text.chars().collect();
    let mut parser = Parser { chars, at: 0, variables, depth, skipping: false };
    parser.blanks();
    if parser.at == parser.chars.len() {
        return Ok(0);
    }
    let value = parser.comma()?;
    match parser.chars.get(parser.at) {
        None => Ok(value),
        Some(_) => Err(parser.wrong()),
    }
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    variables: &'a mut dyn Variables,
    depth: u32,
    /// In the part of `&&`, `||` or `?:` that is not taken.
    skipping: bool,
}

type Value = Result<i64, String>;

/// From the loosest to the tightest; each level's longer signs first.
const BINARY: [&[&str]; 11] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
    &["**"],
];

const ASSIGNMENTS: [&str; 11] = ["<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "="];

impl Parser<'_> {
    fn wrong(&self) -> String {
        let rest: String = self.chars[self.at.min(self.chars.len())..].iter().collect();
        match rest.is_empty() {
            true => "arithmetic syntax error: the expression ends too early".to_string(),
            false => format!("arithmetic syntax error at '{rest}'"),
        }
    }

    fn blanks(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn starts(&self, sign: &str) -> bool {
        let mut chars = self.chars[self.at..].iter();
        sign.chars().all(|c| chars.next() == Some(&c))
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.starts(sign);
        if found {
            self.at += sign.len();
            self.blanks();
        }
        found
    }

    fn comma(&mut self) -> Value {
        let mut value = self.choice()?;
        while self.take(",") {
            value = self.choice()?;
        }
        Ok(value)
    }

    fn choice(&mut self) -> Value {
        if let Some((name, operator)) = self.assignment() {
            let value = self.choice()?;
            let value = match operator.strip_suffix('=') {
                Some("") | None => value,
                Some(sign) => {
                    let before = self.variable(&name)?;
                    self.apply(sign, before, value)?
                }
            };
            if !self.skipping {
                self.variables.set(&name, value)?;
            }
            return Ok(value);
        }
        let condition = self.binary(0)?;
        if !self.take("?") {
            return Ok(condition);
        }
        let then = self.skip_if(condition == 0, Parser::comma)?;
        if !self.take(":") {
            return Err(self.wrong());
        }
        let otherwise = self.skip_if(condition != 0, Parser::choice)?;
        Ok(if condition != 0 { then } else { otherwise })
    }

    fn skip_if(&mut self, skip: bool, parse: fn(&mut Self) -> Value) -> Value {
        let before = self.skipping;
        self.skipping |= skip;
        let value = parse(self);
        self.skipping = before;
        value
    }

    /// `name op=`, if that is what comes.
    fn assignment(&mut self) -> Option<(String, &'static str)> {
        let before = self.at;
        let name = self.name();
        let found = name.and_then(|name| {
            let operator = ASSIGNMENTS.into_iter().find(|sign| self.starts(sign))?;
            (!self.starts("==")).then_some((name, operator))
        });
        match found {
            Some((_, operator)) => {
                self.take(operator);
            }
            None => self.at = before,
        }
        found
    }

    fn name(&mut self) -> Option<String> {
        let is_name = |c: &&char| **c == '_' || c.is_ascii_alphanumeric();
        let name: String = self.chars[self.at..].iter().take_while(is_name).collect();
        if name.chars().next().is_none_or(|first| first.is_ascii_digit()) {
            return None;
        }
        self.at += name.len();
        self.blanks();
        Some(name)
    }

    fn binary(&mut self, level: usize) -> Value {
        let Some(signs) = BINARY.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            // `a < b` is no part of `a << b`, nor `a & b` of `a && b`.
            let sign = signs.iter().copied().find(|sign| {
                let doubled = matches!(*sign, "<" | ">" | "&" | "|" | "*");
                self.starts(sign) && !(doubled && self.starts(&sign.repeat(2)))
            });
            let Some(sign) = sign else { return Ok(left) };
            self.take(sign);
            left = match sign {
                "&&" => {
                    let right = self.skip_if(left == 0, |parser| parser.binary(2))?;
                    i64::from(left != 0 && right != 0)
                }
                "||" => {
                    let right = self.skip_if(left != 0, |parser| parser.binary(1))?;
                    i64::from(left != 0 || right != 0)
                }
                _ => {
                    let right = self.binary(level + 1)?;
                    self.apply(sign, left, right)?
                }
            };
        }
    }

    fn apply(&self, sign: &str, left: i64, right: i64) -> Value {
        let shift = u32::try_from(right & 63).unwrap_or(0);
        Ok(match sign {
            "|" => left | right,
            "^" => left ^ right,
            "&" => left & right,
            "==" => i64::from(left == right),
            "!=" => i64::from(left != right),
            "<=" => i64::from(left <= right),
            ">=" => i64::from(left >= right),
            "<" => i64::from(left < right),
            ">" => i64::from(left > right),
            "<<" => left.wrapping_shl(shift),
            ">>" => left.wrapping_shr(shift),
            "+" => left.wrapping_add(right),
            "-" => left.wrapping_sub(right),
            "*" => left.wrapping_mul(right),
            "**" => left.wrapping_pow(
                u32::try_from(right).map_err(|_| "exponent less than 0".to_string())?,
            ),
            _ if self.skipping => 0,
            _ if right == 0 => return Err("division by zero".to_string()),
            "/" => left.wrapping_div(right),
            _ => left.wrapping_rem(right),
        })
    }

    fn unary(&mut self) -> Value {
        // Signs in front of signs are calls in calls, too.
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("arithmetic: expression too deep".to_string());
        }
        let value = self.signed();
        self.depth -= 1;
        value
    }

    fn signed(&mut self) -> Value {
        for (sign, step) in [("++", 1), ("--", -1)] {
            let before = self.at;
            if self.take(sign) {
                if let Some(name) = self.name() {
                    return self.step(&name, step);
                }
                self.at = before;
            }
        }
        if self.take("!") {
            Ok(i64::from(self.unary()? == 0))
        } else if self.take("~") {
            Ok(!self.unary()?)
        } else if self.take("-") {
            Ok(self.unary()?.wrapping_neg())
        } else if self.take("+") {
            self.unary()
        } else {
            self.primary()
        }
    }

    fn step(&mut self, name: &str, step: i64) -> Value {
        let value = self.variable(name)?.wrapping_add(step);
        if !self.skipping {
            self.variables.set(name, value)?;
        }
        Ok(value)
    }

    fn primary(&mut self) -> Value {
        if self.take("(") {
            let value = self.comma()?;
            return if self.take(")") { Ok(value) } else { Err(self.wrong()) };
        }
        if let Some(name) = self.name() {
            for (sign, step) in [("++", 1), ("--", -1)] {
                if self.take(sign) {
                    return Ok(self.step(&name, step)?.wrapping_sub(step));
                }
            }
            return self.variable(&name);
        }
        let is_digit = |c: &&char| c.is_ascii_alphanumeric();
        let digits: String = self.chars[self.at..].iter().take_while(is_digit).collect();
        let number = literal(&digits).ok_or_else(|| self.wrong())?;
        self.at += digits.len();
        self.blanks();
        Ok(number)
    }

    fn variable(&mut self, name: &str) -> Value {
        match self.variables.get(name) {
            Some(value) if !value.trim().is_empty() => match literal(value.trim()) {
                Some(number) => Ok(number),
                None => evaluate_at(&value, self.variables, self.depth + 1),
            },
            _ => Ok(0),
        }
    }
}

/// Decimal, `0x…` or `0…`.
fn literal(digits: &str) -> Option<i64> {
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok();
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return i64::from_str_radix(digits, 8).ok();
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Variables for BTreeMap<String, String> {
        fn get(&self, name: &str) -> Option<String> {
            BTreeMap::get(self, name).cloned()
        }

        fn set(&mut self, name: &str, value: i64) -> Result<(), String> {
            self.insert(name.to_string(), value.to_string());
            Ok(())
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<i64, &str>) {
        let mut variables = BTreeMap::from([
            ("a".to_string(), "7".to_string()),
            ("b".to_string(), "a+1".to_string()),
            ("c".to_string(), "c".to_string()),
        ]);
        assert_eq!(evaluate(text, &mut variables), expected.map_err(str::to_string), "{text}");
    }

    #[test]
    fn expressions_have_c_s_values() {
        for (text, value) in [
            ("", 0),
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("-7 / 2", -3),
            ("-7 % 3", -1),
            ("1 << 4 | 3", 19),
            ("0x10 + 010", 24),
            ("a * 2", 14),
            ("b * 2", 16),
            ("x", 0),
            ("a > 6 && a < 8", 1),
            ("!a", 0),
            ("~0", -1),
            ("a == 7 ? 10 : 20", 10),
            ("a != 7 ? 10 : 20", 20),
            ("x = 3, x + 1", 4),
            ("x += 3, x *= 2, x", 6),
            ("a++ + a", 15),
            ("++a", 8),
            ("1 || 1 / 0", 1),
            ("0 && (x = 9), x", 0),
            ("5 & 3", 1),
            ("5 ^ 3", 6),
            ("2 ** 3 * 2", 16),
            ("1 - -1", 2),
            ("9223372036854775807 + 1", i64::MIN),
        ] {
            check(text, Ok(value));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        check("1 / 0", Err("division by zero"));
        check("1 +", Err("arithmetic syntax error: the expression ends too early"));
        check("1 2", Err("arithmetic syntax error at '2'"));
        check("c", Err("arithmetic: expression too deep"));
        check(&"(".repeat(9999), Err("arithmetic: expression too deep"));
        check(&"-".repeat(9999), Err("arithmetic: expression too deep"));
    }
}
