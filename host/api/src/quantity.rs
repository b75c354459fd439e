//! Quantities as Kubernetes writes them: `100m`, `1.5Gi`, `2k`, `1e3`.
//!
//! Values are exact, counted in thousand-millionths (`n`, the smallest suffix); what is smaller is rounded up, as
//! Kubernetes does. A quantity that is negative, or larger than Kubernetes can hold (2^63 - 1), is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use berth_core::resources::{CPU, NamedAmounts};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANO: u128 = 1_000_000_000;
const LARGEST: u128 = i64::MAX as u128 * NANO;

/// Amounts by resource name, as written.
pub type Quantities = BTreeMap<String, Quantity>;

/// A quantity, with the text that it was written as. Equal are quantities with the same value.
#[derive(Clone)]
pub struct Quantity {
    text: Box<str>,
    nano: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("is no quantity: write a number with an optional suffix, such as 500m, 2, 1.5Gi or 1e3")]
    Malformed,
    #[error("is negative: an amount of a resource cannot be below 0")]
    Negative,
    #[error("is too large: the largest quantity is 9223372036854775807")]
    TooLarge,
}

impl Quantity {
    /// # Errors
    /// If `text` is no quantity, is negative or too large.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        Ok(Self { text: text.into(), nano: parse(text)? })
    }

    pub fn whole(value: u64) -> Self {
        Self { text: value.to_string().into(), nano: u128::from(value) * NANO }
    }

    /// From thousand-millionths, written with the largest decimal suffix that loses nothing.
    pub fn from_nano(nano: u128) -> Self {
        let scales = [(NANO, ""), (1_000_000, "m"), (1_000, "u"), (1, "n")];
        let (unit, suffix) = scales.into_iter().find(|(unit, _)| nano.is_multiple_of(*unit)).unwrap_or((1, "n"));
        Self { text: format!("{}{suffix}", nano / unit).into(), nano }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In thousand-millionths.
    pub fn nano(&self) -> u128 {
        self.nano
    }

    /// In the base unit of `resource`, rounded up: thousandths for `cpu`, whole numbers for all others.
    pub fn base(&self, resource: &str) -> u64 {
        base(self.nano, resource)
    }
}

/// Thousand-millionths in the base unit of `resource`, rounded up.
pub fn base(nano: u128, resource: &str) -> u64 {
    let unit = if resource == CPU { 1_000_000 } else { NANO };
    u64::try_from(nano.div_ceil(unit)).unwrap_or(u64::MAX)
}

/// Amounts in base units.
pub fn amounts(quantities: &Quantities) -> NamedAmounts {
    quantities.iter().map(|(name, quantity)| (Arc::from(name.as_str()), quantity.base(name))).collect()
}

fn parse(text: &str) -> Result<u128, QuantityError> {
    let (text, negative) = match text.as_bytes().first() {
        Some(b'-') => (&text[1..], true),
        Some(b'+') => (&text[1..], false),
        _ => (text, false),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (integer.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(QuantityError::Malformed);
    }
    let (shift, power) = suffix_value(suffix)?;
    let nano = scale(integer.trim_start_matches('0'), fraction.trim_end_matches('0'), shift, power)?;
    if negative && nano > 0 {
        return Err(QuantityError::Negative);
    }
    if nano > LARGEST { Err(QuantityError::TooLarge) } else { Ok(nano) }
}

/// Powers of two and of ten that a suffix stands for.
fn suffix_value(suffix: &str) -> Result<(u32, i32), QuantityError> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
        return Ok((10 * (at as u32 + 1), 0));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Ok((0, *power));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Malformed)?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(QuantityError::Malformed);
    }
    // More than any quantity needs; the value is still right at both ends, being too large or rounded up from zero.
    let power = digits
        .trim_start_matches('0')
        .parse::<i32>()
        .map_or(if digits.trim_start_matches('0').is_empty() { 0 } else { 1000 }, |power| power.min(1000));
    Ok((0, if exponent.starts_with('-') { -power } else { power }))
}

/// `integer.fraction` times 2^shift times 10^power, in thousand-millionths, rounded up.
fn scale(integer: &str, fraction: &str, shift: u32, power: i32) -> Result<u128, QuantityError> {
    // Digits past the 40th cannot change more than the rounding.
    let kept = &fraction[..fraction.len().min(40 - integer.len().min(40))];
    let rest = kept.len() < fraction.len();
    let digits: String = [integer, kept].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(u128::from(rest));
    }
    let mut value: u128 =
        digits.get(..38.min(digits.len())).and_then(|head| head.parse().ok()).ok_or(QuantityError::Malformed)?;
    let dropped = digits.len().saturating_sub(38);
    let mut inexact = rest || digits.bytes().skip(38).any(|digit| digit != b'0');
    let mut exponent = power.saturating_add(9).saturating_add(dropped as i32).saturating_sub(kept.len() as i32);
    // Take the shift first where it cannot overflow, so that nothing is lost; otherwise divide first.
    let mut shift = shift;
    while exponent < 0 || shift > 0 || exponent > 0 {
        if shift > 0 && value < 1 << 100 {
            let step = shift.min(20);
            value <<= step;
            shift -= step;
        } else if exponent < 0 {
            inexact |= !value.is_multiple_of(10);
            value /= 10;
            exponent += 1;
            if value == 0 {
                return Ok(u128::from(inexact));
            }
        } else if exponent > 0 {
            value = value.checked_mul(10).ok_or(QuantityError::TooLarge)?;
            exponent -= 1;
        } else {
            return Err(QuantityError::TooLarge);
        }
    }
    value.checked_add(u128::from(inexact)).ok_or(QuantityError::TooLarge)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        from_value(&value).map_err(de::Error::custom)
    }
}

/// A quantity from a manifest, where it may stand as a string or as a number.
///
/// # Errors
/// If it is neither, or no valid quantity.
pub fn from_value(value: &serde_json::Value) -> Result<Quantity, QuantityError> {
    match value {
        serde_json::Value::String(text) => Quantity::parse(text),
        serde_json::Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => Err(QuantityError::Malformed),
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
            "format": "quantity",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use proptest::prelude::*;

    use super::*;

    fn nano(text: &str) -> Result<u128, QuantityError> {
        Quantity::parse(text).map(|quantity| quantity.nano())
    }

    #[test]
    fn every_suffix_is_understood() {
        let cases: [(&str, u128); 18] = [
            ("0", 0),
            ("1", NANO),
            ("100m", 100_000_000),
            ("1.5", 1_500_000_000),
            (".5", 500_000_000),
            ("5.", 5 * NANO),
            ("1u", 1_000),
            ("1n", 1),
            ("2k", 2_000 * NANO),
            ("3M", 3_000_000 * NANO),
            ("1Ki", 1_024 * NANO),
            ("1.5Gi", 1_610_612_736 * NANO),
            ("1e3", 1_000 * NANO),
            ("1E3", 1_000 * NANO),
            ("1e-3", 1_000_000),
            ("12E", 12_000_000_000_000_000_000 * NANO),
            ("+7", 7 * NANO),
            ("-0", 0),
        ];
        for (text, expected) in cases {
            let expected = if expected > LARGEST { Err(QuantityError::TooLarge) } else { Ok(expected) };
            assert_eq!(nano(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_smaller_than_the_unit_is_rounded_up() {
        assert_eq!(nano("0.1n"), Ok(1));
        assert_eq!(nano("1e-400"), Ok(1));
        assert_eq!(Quantity::parse("100m").unwrap().base("memory"), 1);
        assert_eq!(Quantity::parse("0.5m").unwrap().base("cpu"), 1);
        assert_eq!(Quantity::parse("1500m").unwrap().base("cpu"), 1500);
        assert_eq!(Quantity::parse("1.5").unwrap().base("nvidia.com/gpu"), 2);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", ".", "Gi", "1 Gi", "1gi", "1K", "1.2.3", "0x10", "1e", "1e+", "1ee3", "NaN", "٣"] {
            assert_eq!(nano(text), Err(QuantityError::Malformed), "{text}");
        }
        assert_eq!(nano("-1"), Err(QuantityError::Negative));
        for text in ["8Ei", "1e30", "1e999999999999", "9223372036854775808", &"9".repeat(100)] {
            assert_eq!(nano(text), Err(QuantityError::TooLarge), "{text}");
        }
        assert!(nano("9223372036854775807").is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = nano(&text);
        }

        #[test]
        fn number_like_text_never_panics(text in "[-+]?[0-9]{0,50}\\.?[0-9]{0,60}(Ki|Mi|Ei|n|m|k|E|e[-+]?[0-9]{0,12})?") {
            let _ = nano(&text);
        }

        #[test]
        fn values_survive_writing(value in 0..=LARGEST) {
            let written = Quantity::from_nano(value);
            prop_assert_eq!(nano(written.as_str()), Ok(value));
        }

        #[test]
        fn binary_suffixes_are_exact(value in 0u64..1 << 30, shift in 1u32..4) {
            let text = format!("{value}{}", ["Ki", "Mi", "Gi"][shift as usize - 1]);
            prop_assert_eq!(nano(&text), Ok((u128::from(value) << (10 * shift)) * NANO));
        }
    }
}
