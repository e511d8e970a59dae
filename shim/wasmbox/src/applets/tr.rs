//! `tr`: bytes for bytes, as busybox has it.

use std::io::{self, Write};

use crate::call::Failure;
use crate::filter::{Filter, Filtering, Wants};
use crate::options::Options;

pub(super) fn tr(args: &[String]) -> Result<Filtering, Failure> {
    let long =
        [("complement", 'c'), ("delete", 'd'), ("squeeze-repeats", 's'), ("truncate-set1", 't')];
    let options = Options::parse(args, "+cCdst", &long)?;
    let sets = &options.operands;
    let delete = options.has('d');
    let squeeze = options.has('s');
    let least = if delete || squeeze { 1 } else { 2 };
    if sets.len() < least || sets.len() > 2 {
        return Err(Failure::Said("usage: tr [-cds] SET1 [SET2]".to_string(), 1));
    }
    let mut first = set(&sets[0], None);
    if options.has('c') || options.has('C') {
        first = (0..=255).filter(|byte| !first.contains(byte)).collect();
    }
    let second = sets.get(1).map(|text| set(text, Some(first.len())));
    let mut map: [Option<u8>; 256] = std::array::from_fn(|byte| u8::try_from(byte).ok());
    for (i, from) in first.iter().enumerate() {
        if delete {
            map[usize::from(*from)] = None;
        } else if let Some(to) = second.as_ref().and_then(|set| set.get(i).or(set.last())) {
            map[usize::from(*from)] = Some(*to);
        }
    }
    let squeezed = if squeeze { second.unwrap_or(first) } else { Vec::new() };
    let mut squeezes = [false; 256];
    squeezed.iter().for_each(|byte| squeezes[usize::from(*byte)] = true);
    Ok(Filtering::new(Tr { map, squeezes, last: None }, Vec::new()))
}

struct Tr {
    map: [Option<u8>; 256],
    squeezes: [bool; 256],
    last: Option<u8>,
}

impl Filter for Tr {
    fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<Wants> {
        let mut result = Vec::with_capacity(bytes.len());
        for byte in bytes {
            let Some(byte) = self.map[usize::from(*byte)] else { continue };
            if self.squeezes[usize::from(byte)] && self.last == Some(byte) {
                continue;
            }
            self.last = Some(byte);
            result.push(byte);
        }
        out.write_all(&result)?;
        Ok(Wants::More)
    }
}

/// The bytes of a set; `[x*]` fills up to `length`.
fn set(text: &str, length: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        {
            let is_in = |byte: &u8| {
                byte.is_ascii() && crate::shell::pattern::named(name, char::from(*byte))
            };
            bytes.extend((0..=255u8).filter(is_in));
            rest = after;
            continue;
        }
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("*]"))
        {
            let (byte, used) = one(inside);
            if used == inside.len() && used > 0 {
                let count = length.unwrap_or(0).saturating_sub(bytes.len());
                bytes.extend(std::iter::repeat_n(byte, count));
                rest = after;
                continue;
            }
        }
        let (low, used) = one(rest);
        rest = &rest[used..];
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.is_empty()) {
            let (high, used) = one(after);
            bytes.extend(low..=high);
            rest = &after[used..];
        } else {
            bytes.push(low);
            // The other bytes of a character that has several.
            if low >= 0xc0 {
                let others = rest.bytes().take_while(|byte| byte & 0xc0 == 0x80).count();
                bytes.extend(rest.bytes().take(others));
            }
        }
    }
    bytes
}

/// A byte and how much text says it.
fn one(text: &str) -> (u8, usize) {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'\\') || bytes.len() < 2 {
        let first = bytes.first().copied().unwrap_or(0);
        return (first, text.chars().next().map_or(0, char::len_utf8));
    }
    let digits = bytes[1..].iter().take(3).take_while(|byte| (b'0'..b'8').contains(byte)).count();
    if digits > 0 {
        let value = u32::from_str_radix(&text[1..=digits], 8).unwrap_or(0);
        return ((value & 0xff) as u8, digits + 1);
    }
    let byte = match bytes[1] {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        byte => byte,
    };
    (byte, 2)
}
