//! A number of nodes, or a part of all of them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// At least one node, as `3`, or at least one percent, as `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Count(u32),
    Percent(u8),
}

impl Share {
    /// Of so many nodes. A limit that let nothing pass would stand still for ever, so it is one at least.
    pub fn of(self, total: usize) -> usize {
        match self {
            Share::Count(count) => count as usize,
            Share::Percent(percent) => (total * usize::from(percent) / 100).max(1),
        }
    }

    /// As [`Share::of`] rounded up, and never more than there are: of a wave, which is to have nodes.
    pub fn reach(self, total: usize) -> usize {
        match self {
            Share::Count(count) => (count as usize).min(total),
            Share::Percent(percent) => (total * usize::from(percent)).div_ceil(100),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("neither a number of nodes from 1 nor a part of them from 1% to 100%")]
pub struct NoShare;

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Share, NoShare> {
        let percent = text.strip_suffix('%').and_then(|it| it.parse().ok()).ok_or(NoShare)?;
        if (1..=100).contains(&percent) { Ok(Share::Percent(percent)) } else { Err(NoShare) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Count(count) => write!(f, "{count}"),
            Share::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Share::Count(count) => serializer.serialize_u32(*count),
            Share::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of nodes or a percentage")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Share, E> {
        match u32::try_from(count) {
            Ok(count @ 1..) => Ok(Share::Count(count)),
            Ok(0) | Err(_) => Err(E::custom(NoShare)),
        }
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Share, E> {
        self.visit_u64(u64::try_from(count).map_err(|_| E::custom(NoShare))?)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "maximum": 100_000,
            "maxLength": 4,
            "pattern": "^([1-9][0-9]?|100)%$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_at_least_one_node_and_nothing_else_is_a_share() {
        let read = |json: &str| serde_json::from_str::<Share>(json).ok();
        assert_eq!(read("3"), Some(Share::Count(3)));
        assert_eq!(read("\"25%\""), Some(Share::Percent(25)));
        for none in
            ["0", "-1", "\"0%\"", "\"101%\"", "\"3\"", "\"x%\"", "1.5", "true", "4294967296"]
        {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_limit_rounds_down_and_a_wave_rounds_up() {
        let percent = Share::Percent(25);
        assert_eq!([0, 1, 7, 8].map(|total| percent.of(total)), [1, 1, 1, 2]);
        assert_eq!([0, 1, 7, 8].map(|total| percent.reach(total)), [0, 1, 2, 2]);
        assert_eq!(Share::Count(5).reach(3), 3);
    }
}
