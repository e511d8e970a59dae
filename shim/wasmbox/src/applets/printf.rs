//! `printf`, and the escapes that `echo -e` and `$'…'` know too.

use crate::call::{Call, Failure, Outcome};

/// Answers also whether `\c` ended it.
pub(crate) fn unescape(text: &str) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        match escape(rest, true, &mut bytes) {
            Some(length) => rest = &rest[length..],
            None => return (bytes, true),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    (bytes, false)
}

/// What stands behind a backslash: its length, or `None` for `\c`. In `\0101` the zero leads, and
/// three digits follow; in a format it is one of three.
fn escape(rest: &str, zero_leads: bool, to: &mut Vec<u8>) -> Option<usize> {
    let digits = |from: usize, most: usize, radix: u32| {
        rest[from..].chars().take(most).take_while(|c| c.is_digit(radix)).count()
    };
    let number = |from: usize, length: usize, radix: u32| {
        u32::from_str_radix(&rest[from..from + length], radix)
    };
    let Some(c) = rest.chars().next() else {
        to.push(b'\\');
        return Some(0);
    };
    let byte = match c {
        'a' => 7,
        'b' => 8,
        'e' => 27,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        'c' => return None,
        'x' => match digits(1, 2, 16) {
            0 => {
                to.extend_from_slice(b"\\x");
                return Some(1);
            }
            length => {
                to.push(number(1, length, 16).unwrap_or(0) as u8);
                return Some(1 + length);
            }
        },
        '0'..='7' => {
            let from = usize::from(c == '0' && zero_leads);
            let length = digits(from, 3, 8);
            to.push(if length == 0 { 0 } else { number(from, length, 8).unwrap_or(0) as u8 });
            return Some(from + length);
        }
        c => {
            to.push(b'\\');
            let mut utf8 = [0; 4];
            to.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            return Some(c.len_utf8());
        }
    };
    to.push(byte);
    Some(1)
}

pub(super) fn printf(call: &Call<'_>) -> Outcome {
    let args = match call.args.first().map(String::as_str) {
        Some("--") => &call.args[1..],
        _ => call.args,
    };
    let Some((format, values)) = args.split_first() else {
        return Err(call.usage("FORMAT [ARGUMENT]..."));
    };
    let mut printer = Printer { values, used: 0, bytes: Vec::new(), complaints: Vec::new() };
    loop {
        let before = printer.used;
        let goes_on = printer.once(format)?;
        if !goes_on || printer.used >= values.len() || printer.used == before {
            break;
        }
    }
    call.out().write_all(&printer.bytes)?;
    for complaint in &printer.complaints {
        call.complain(complaint);
    }
    Ok(i32::from(!printer.complaints.is_empty()))
}

struct Printer<'a> {
    values: &'a [String],
    used: usize,
    bytes: Vec<u8>,
    complaints: Vec<String>,
}

impl Printer<'_> {
    /// The format, once; `false` after `\c`.
    fn once(&mut self, format: &str) -> Result<bool, Failure> {
        let mut rest = format;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\\' => match escape(rest, false, &mut self.bytes) {
                    Some(length) => rest = &rest[length..],
                    None => return Ok(false),
                },
                '%' if rest.starts_with('%') => {
                    self.bytes.push(b'%');
                    rest = &rest[1..];
                }
                '%' => match self.conversion(&mut rest)? {
                    true => {}
                    false => return Ok(false),
                },
                c => {
                    let mut utf8 = [0; 4];
                    self.bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
        Ok(true)
    }

    fn next(&mut self) -> String {
        self.used += 1;
        self.values.get(self.used - 1).cloned().unwrap_or_default()
    }

    fn conversion(&mut self, rest: &mut &str) -> Result<bool, Failure> {
        let start = *rest;
        let flags: String = rest.chars().take_while(|c| "-+ #0".contains(*c)).collect();
        *rest = &rest[flags.len()..];
        let mut layout = Layout {
            left: flags.contains('-'),
            zeros: flags.contains('0'),
            sign: if flags.contains('+') {
                "+"
            } else if flags.contains(' ') {
                " "
            } else {
                ""
            },
            alternate: flags.contains('#'),
            width: 0,
            precision: None,
        };
        match self.size(rest) {
            Some(width) if width < 0 => {
                layout.left = true;
                layout.width = usize::try_from(-width).unwrap_or(0);
            }
            width => layout.width = usize::try_from(width.unwrap_or(0)).unwrap_or(0),
        }
        if let Some(after) = rest.strip_prefix('.') {
            *rest = after;
            layout.precision = Some(usize::try_from(self.size(rest).unwrap_or(0)).unwrap_or(0));
        }
        *rest = rest.trim_start_matches(['l', 'h', 'q', 'j', 'z']);
        let Some(kind) = rest.chars().next() else {
            return Err(Failure::new(format!("%{start}: invalid format")));
        };
        *rest = &rest[kind.len_utf8()..];
        if layout.width > 1 << 20 || layout.precision.is_some_and(|precision| precision > 1 << 20) {
            return Err(Failure::new(format!("%{start}: too wide")));
        }
        let text = match kind {
            's' => layout.text(self.next()),
            'b' => {
                let value = self.next();
                let (bytes, stopped) = unescape(&value);
                self.bytes
                    .extend(layout.text(String::from_utf8_lossy(&bytes).into_owned()).into_bytes());
                return Ok(!stopped);
            }
            'c' => layout.text(self.next().chars().take(1).collect()),
            'd' | 'i' => {
                let value = self.integer();
                layout.number(value < 0, value.unsigned_abs().to_string())
            }
            'u' => layout.number(false, (self.integer() as u64).to_string()),
            'o' => {
                let digits =
                    format!("{}{:o}", if layout.alternate { "0" } else { "" }, self.integer());
                layout.number(false, digits)
            }
            'x' => {
                let digits =
                    format!("{}{:x}", if layout.alternate { "0x" } else { "" }, self.integer());
                layout.number(false, digits)
            }
            'X' => {
                let digits =
                    format!("{}{:X}", if layout.alternate { "0X" } else { "" }, self.integer());
                layout.number(false, digits)
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
                let value = self.float();
                let precision = layout.precision.take().unwrap_or(6);
                layout.number(value.is_sign_negative(), float(value.abs(), kind, precision))
            }
            _ => return Err(Failure::new(format!("%{start}: invalid format"))),
        };
        self.bytes.extend(text.into_bytes());
        Ok(true)
    }

    fn size(&mut self, rest: &mut &str) -> Option<i64> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            return Some(self.integer());
        }
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        *rest = &rest[digits.len()..];
        digits.parse().ok()
    }

    fn integer(&mut self) -> i64 {
        let text = self.next();
        if let Some(c) = text.strip_prefix(['\'', '"']).and_then(|rest| rest.chars().next()) {
            return i64::from(u32::from(c));
        }
        let trimmed = text.trim_start();
        let (negative, digits) = match trimmed.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))
        {
            Some(digits) => (16, digits),
            None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
            None => (10, digits),
        };
        let length = digits.chars().take_while(|c| c.is_digit(radix)).count();
        let value = u64::from_str_radix(&digits[..length], radix).unwrap_or(if length > 0 {
            u64::MAX
        } else {
            0
        });
        if (length < digits.len() || length == 0) && !text.is_empty() {
            self.complaints.push(format!("invalid number '{text}'"));
        }
        let value = value as i64;
        if negative { value.wrapping_neg() } else { value }
    }

    fn float(&mut self) -> f64 {
        let text = self.next();
        if text.is_empty() {
            return 0.0;
        }
        text.trim().parse().unwrap_or_else(|_| {
            self.complaints.push(format!("invalid number '{text}'"));
            0.0
        })
    }
}

struct Layout {
    left: bool,
    zeros: bool,
    sign: &'static str,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

impl Layout {
    fn text(&self, text: String) -> String {
        let text: String = match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        };
        self.pad(&text)
    }

    fn pad(&self, text: &str) -> String {
        let width = self.width;
        if self.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }

    fn number(&self, negative: bool, mut digits: String) -> String {
        if let Some(least) = self.precision {
            digits = format!("{digits:0>least$}");
        }
        let sign = if negative { "-" } else { self.sign };
        if self.zeros && !self.left && self.precision.is_none() {
            let width = self.width.saturating_sub(sign.len());
            return format!("{sign}{digits:0>width$}");
        }
        self.pad(&format!("{sign}{digits}"))
    }
}

fn float(value: f64, kind: char, precision: usize) -> String {
    match kind {
        'f' | 'F' => format!("{value:.precision$}"),
        'e' | 'E' => exponential(value, precision, kind),
        _ => {
            let precision = precision.max(1);
            let exponent = if value == 0.0 { 0 } else { value.log10().floor() as i32 };
            let most = i32::try_from(precision).unwrap_or(i32::MAX);
            let text = if exponent < -4 || exponent >= most {
                let e = if kind == 'G' { 'E' } else { 'e' };
                let text = exponential(value, precision - 1, e);
                let (digits, power) = text.split_once(e).unwrap_or((&text, ""));
                return format!("{}{e}{power}", trim(digits));
            } else {
                format!("{value:.*}", usize::try_from(most - 1 - exponent).unwrap_or(0))
            };
            trim(&text).to_string()
        }
    }
}

fn trim(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

fn exponential(value: f64, precision: usize, e: char) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}{e}{sign}{power:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes() {
        for (text, bytes, stopped) in [
            ("a\\tb\\n", &b"a\tb\n"[..], false),
            ("\\x41\\101\\0101\\q", b"AAA\\q", false),
            ("a\\cb", b"a", true),
            ("\\\\", b"\\", false),
            ("\\", b"\\", false),
            ("\\xzz", b"\\xzz", false),
        ] {
            assert_eq!(unescape(text), (bytes.to_vec(), stopped), "{text}");
        }
    }
}
