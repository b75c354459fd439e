//! Columns of numbers as bytes: differences between neighbours, and runs of equal differences.
//!
//! A column of one value, or of consecutive rows, takes a few bytes whatever its length; any other small number takes one
//! or two. Real numbers are numbered by first appearance, so that equal prices are small numbers too, and come back bit for
//! bit. What is written so is read back by later versions: the form of each function here is frozen.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::{Candidates, Column, Offers};

/// Values of one column at the most: what is longer was not written by us.
const MOST: u64 = 1 << 26;

/// Gives each distinct value a number, in the order of first appearance.
#[derive(Clone, Debug)]
pub struct Numbers<T> {
    known: BTreeMap<T, u32>,
    pub values: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), values: Vec::new() }
    }
}

impl<T: Ord + Clone> Numbers<T> {
    pub fn of(&mut self, value: &T) -> u32 {
        if let Some(number) = self.known.get(value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.known.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }
}

/// Bytes so far.
#[derive(Clone, Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A text with its length.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A column of whole numbers.
    pub fn whole(&mut self, values: impl ExactSizeIterator<Item = u32>) {
        self.number(values.len() as u64);
        let (mut last, mut run): (u32, Option<(u64, u64)>) = (0, None);
        for value in values {
            let step = zigzag(i64::from(value) - i64::from(last));
            last = value;
            match &mut run {
                Some((known, count)) if *known == step => *count += 1,
                _ => {
                    self.run(run);
                    run = Some((step, 1));
                }
            }
        }
        self.run(run);
    }

    /// A difference, and how often it follows on itself where it does.
    fn run(&mut self, run: Option<(u64, u64)>) {
        let Some((step, count)) = run else { return };
        self.number(step << 1 | u64::from(count > 1));
        if count > 1 {
            self.number(count - 2);
        }
    }

    /// A column of large whole numbers: their upper and lower halves.
    pub fn wide(&mut self, values: impl ExactSizeIterator<Item = u64> + Clone) {
        self.whole(values.clone().map(|value| (value >> 32) as u32));
        self.whole(values.map(|value| value as u32));
    }

    /// A column of real numbers.
    pub fn real(&mut self, values: impl ExactSizeIterator<Item = f64>) {
        let mut numbers = Numbers::default();
        let mut last = None;
        let mut rows: Vec<u32> = Vec::with_capacity(values.len());
        for value in values {
            let bits = value.to_bits();
            let row = match (last, rows.last()) {
                (Some(last), Some(row)) if last == bits => *row,
                _ => numbers.of(&bits),
            };
            last = Some(bits);
            rows.push(row);
        }
        self.number(numbers.values.len() as u64);
        for bits in numbers.values {
            self.0.extend_from_slice(&bits.to_le_bytes());
        }
        self.whole(rows.into_iter());
    }

    /// All columns about candidates, without the names of the extra ones.
    pub fn candidates(&mut self, candidates: &Candidates) {
        let Candidates {
            cluster,
            ready,
            elastic,
            current,
            price,
            current_price,
            lead_seconds,
            interruption,
            tier,
            weight,
            offers,
            extra,
        } = candidates;
        for column in [cluster, ready, elastic, current, lead_seconds, tier, weight] {
            self.whole(column.iter().copied());
        }
        for column in [price, current_price, interruption] {
            self.real(column.iter().copied());
        }
        for column in [&offers.candidate, &offers.replicas, &offers.lead_seconds] {
            self.whole(column.iter().copied());
        }
        for column in [&offers.price, &offers.interruption] {
            self.real(column.iter().copied());
        }
        for column in extra {
            self.real(column.values.iter().copied());
        }
    }
}

/// Small numbers of either sign as small numbers.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Bytes that are left.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

/// Everything gives `None` where the bytes are not what the writer's function of that name wrote.
impl Reader<'_> {
    pub fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0_u64, 0_u32);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }

    pub fn text(&mut self) -> Option<Arc<str>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Arc::from)
    }

    pub fn whole(&mut self) -> Option<Vec<u32>> {
        let length = self.number().filter(|length| *length <= MOST)?;
        let mut values: Vec<u32> = Vec::new();
        let mut last = 0_i64;
        while (values.len() as u64) < length {
            let token = self.number()?;
            let step = unzigzag(token >> 1);
            let count = if token & 1 == 1 { self.number()?.checked_add(2)? } else { 1 };
            if count > length - values.len() as u64 {
                return None;
            }
            for _ in 0..count {
                last = last.checked_add(step)?;
                values.push(u32::try_from(last).ok()?);
            }
        }
        Some(values)
    }

    pub fn wide(&mut self) -> Option<Vec<u64>> {
        let (upper, lower) = (self.whole()?, self.whole()?);
        let whole = |(upper, lower): (u32, u32)| u64::from(upper) << 32 | u64::from(lower);
        (upper.len() == lower.len()).then(|| upper.into_iter().zip(lower).map(whole).collect())
    }

    pub fn real(&mut self) -> Option<Vec<f64>> {
        let distinct = self.number()?;
        let mut known: Vec<f64> = Vec::new();
        for _ in 0..distinct {
            let (bits, rest) = self.0.split_first_chunk::<8>()?;
            self.0 = rest;
            known.push(f64::from_bits(u64::from_le_bytes(*bits)));
        }
        self.whole()?.into_iter().map(|row| known.get(row as usize).copied()).collect()
    }

    /// `extra`: the names of the extra columns.
    pub fn candidates(&mut self, extra: &[Arc<str>]) -> Option<Candidates> {
        Some(Candidates {
            cluster: self.whole()?,
            ready: self.whole()?,
            elastic: self.whole()?,
            current: self.whole()?,
            lead_seconds: self.whole()?,
            tier: self.whole()?,
            weight: self.whole()?,
            price: self.real()?,
            current_price: self.real()?,
            interruption: self.real()?,
            offers: Offers {
                candidate: self.whole()?,
                replicas: self.whole()?,
                lead_seconds: self.whole()?,
                price: self.real()?,
                interruption: self.real()?,
            },
            extra: extra
                .iter()
                .map(|name| Some(Column { name: name.clone(), values: self.real()? }))
                .collect::<Option<Vec<_>>>()?,
        })
    }
}
