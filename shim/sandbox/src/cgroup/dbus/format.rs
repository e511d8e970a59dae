//! Values and messages as bytes.

use super::{Message, Value};

/// Values as they travel: each at a multiple of its size.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn pad(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, n: u32) {
        self.pad(4);
        self.0.extend(n.to_le_bytes());
    }

    pub(super) fn text(&mut self, s: &str) {
        self.number(s.len() as u32);
        self.0.extend(s.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, s: &str) {
        self.0.push(s.len() as u8);
        self.0.extend(s.as_bytes());
        self.0.push(0);
    }

    /// The length counts from the first element, not from the padding before it.
    pub(super) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Writer)) {
        self.number(0);
        let at = self.0.len() - 4;
        self.pad(align);
        let from = self.0.len();
        elements(self);
        let length = (self.0.len() - from) as u32;
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Text(s) => self.text(s),
            Value::Flag(b) => self.number((*b).into()),
            Value::Number(n) => {
                self.pad(8);
                self.0.extend(n.to_le_bytes());
            }
            Value::Numbers(all) => self.array(4, |out| all.iter().for_each(|n| out.number(*n))),
            Value::Bytes(all) => self.array(1, |out| out.0.extend(all)),
            Value::Pairs(all) => self.array(8, |out| {
                for (one, other) in all {
                    out.pad(8);
                    out.text(one);
                    out.text(other);
                }
            }),
            Value::Properties(all) => self.array(8, |out| {
                for (key, value) in all {
                    out.pad(8);
                    out.text(key);
                    out.signature(value.signature());
                    out.value(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| ()),
        }
    }
}

/// Reads the fields that we look at, and the strings of the body.
pub(super) fn decode(fields: &[u8], body: &[u8], message: &mut Message) -> Option<()> {
    let mut reader = Reader { bytes: fields, at: 0 };
    let mut signature = String::new();
    while reader.at < fields.len() {
        reader.pad(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (3, _) => message.member = reader.text()?,
            (4, _) => message.error = reader.text()?,
            (5, _) => message.answers = reader.number()?,
            (8, _) => signature = reader.signature()?,
            (_, "u") => drop(reader.number()?),
            (_, "g") => drop(reader.signature()?),
            _ => drop(reader.text()?),
        }
    }
    let mut reader = Reader { bytes: body, at: 0 };
    for kind in signature.chars() {
        match kind {
            's' | 'o' => message.texts.push(reader.text()?),
            'u' => drop(reader.number()?),
            // Nothing else comes before what we want.
            _ => break,
        }
    }
    Some(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn pad(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.pad(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }
}
