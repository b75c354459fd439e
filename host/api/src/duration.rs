//! Spans of time as text: `35s`, `10m`, `1h30m`, `250ms`, and ranges of them: `35s..55s`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no duration: write a number with a unit (ms, s, m, h, d), such as 35s, 10m or 1h30m")]
pub struct DurationError;

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub u64);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Rounded up.
    pub const fn seconds(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// # Errors
    /// If `text` is no duration, or longer than 2^64 milliseconds.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let mut rest = text;
        let mut total: u64 = 0;
        if rest == "0" {
            return Ok(Self(0));
        }
        while !rest.is_empty() || text.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError)?;
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let (_, millis) = UNITS.iter().find(|(known, _)| *known == unit).ok_or(DurationError)?;
            total = part(number, *millis).and_then(|part| total.checked_add(part)).ok_or(DurationError)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

fn part(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut millis = whole.checked_mul(unit)?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.get(..fraction.len().min(9))?.parse().ok()?;
        let scale = 10u128.pow(fraction.len().min(9) as u32);
        millis = millis.checked_add(u64::try_from(u128::from(digits) * u128::from(unit) / scale).ok()?)?;
    }
    Some(millis)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in UNITS.into_iter().skip(1) {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Cow<'_, str> = Deserialize::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "berth-duration"})
    }
}

/// From the shortest to the longest span; written as `35s..55s`, or as one span where both are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationRange {
    pub min: Duration,
    pub max: Duration,
}

impl DurationRange {
    /// # Errors
    /// If an end is no duration, or the first is longer than the second.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let range = Self { min: Duration::parse(min.trim())?, max: Duration::parse(max.trim())? };
        if range.min > range.max { Err(DurationError) } else { Ok(range) }
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.min)?;
        if self.max > self.min {
            write!(f, "..{}", self.max)?;
        }
        Ok(())
    }
}

impl Serialize for DurationRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Cow<'_, str> = Deserialize::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for DurationRange {
    fn schema_name() -> Cow<'static, str> {
        "DurationRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "berth-duration-range"})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("35s", 35_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("2d", 172_800_000),
        ];
        for (text, millis) in cases {
            assert_eq!(Duration::parse(text), Ok(Duration(millis)), "{text}");
        }
        for text in ["", "35", "s", "10 m", "-5s", "1w", "99999999999999999999s", "1..5s", "ms1"] {
            assert_eq!(Duration::parse(text), Err(DurationError), "{text}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let range = |min, max| DurationRange { min: Duration::from_seconds(min), max: Duration::from_seconds(max) };
        assert_eq!(DurationRange::parse("35s..55s"), Ok(range(35, 55)));
        assert_eq!(DurationRange::parse("1m"), Ok(range(60, 60)));
        assert_eq!(DurationRange::parse("55s..35s"), Err(DurationError));
        assert_eq!(range(35, 55).to_string(), "35s..55s");
    }

    proptest! {
        #[test]
        fn durations_survive_writing(millis: u64) {
            prop_assert_eq!(Duration::parse(&Duration(millis).to_string()), Ok(Duration(millis)));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = Duration::parse(&text);
            let _ = DurationRange::parse(&text);
        }
    }
}
