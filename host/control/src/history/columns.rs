//! Columns of numbers as bytes: differences between neighbours, and runs of equal differences.
//!
//! A column of one value, or of consecutive rows, takes a few bytes whatever its length; any other small number takes one
//! or two. Real numbers are numbered by first appearance, so that equal prices are small numbers too, and come back bit for
//! bit.

use super::Numbers;

/// Values of one column at the most: what is longer was not written by us.
const MOST: u64 = 1 << 26;

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn whole(&mut self, values: impl ExactSizeIterator<Item = u32>) {
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

    pub(super) fn real(&mut self, values: impl ExactSizeIterator<Item = f64>) {
        let mut numbers = Numbers::new();
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
}

/// Small numbers of either sign as small numbers.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
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

    pub(super) fn whole(&mut self) -> Option<Vec<u32>> {
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

    pub(super) fn real(&mut self) -> Option<Vec<f64>> {
        let distinct = self.number()?;
        let mut known: Vec<f64> = Vec::new();
        for _ in 0..distinct {
            let (bits, rest) = self.0.split_first_chunk::<8>()?;
            self.0 = rest;
            known.push(f64::from_bits(u64::from_le_bytes(*bits)));
        }
        self.whole()?.into_iter().map(|row| known.get(row as usize).copied()).collect()
    }
}
