//! A set of rows as bits: sets of the same fleet are combined word by word.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const BITS: usize = u64::BITS as usize;

/// Written as ranges of (first row, number of rows), ascending.
#[derive(Clone, Debug, Default)]
pub struct RowSet {
    words: Vec<u64>,
}

impl RowSet {
    /// More rows than any fleet has clusters: what is read from elsewhere must not ask for any amount of memory.
    pub const MOST_ROWS: usize = 1 << 24;

    /// Rows below `rows` can be inserted without growing.
    pub fn with_room(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(BITS)] }
    }

    /// Words of 64 rows each; rows past the end are not in the set.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn from_words(words: Vec<u64>) -> Self {
        Self { words }
    }

    pub fn insert(&mut self, row: usize) {
        if row / BITS >= self.words.len() {
            self.words.resize(row / BITS + 1, 0);
        }
        self.words[row / BITS] |= 1 << (row % BITS);
    }

    pub fn remove(&mut self, row: usize) {
        if let Some(word) = self.words.get_mut(row / BITS) {
            *word &= !(1 << (row % BITS));
        }
    }

    pub fn set(&mut self, row: usize, member: bool) {
        if member { self.insert(row) } else { self.remove(row) }
    }

    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / BITS).is_some_and(|word| word & (1 << (row % BITS)) != 0)
    }

    /// Takes out the rows of one word that `mask` holds, ascending.
    pub(crate) fn take(&mut self, word: usize, mask: u64) -> impl Iterator<Item = usize> + use<> {
        let mut taken = 0;
        if let Some(bits) = self.words.get_mut(word) {
            taken = *bits & mask;
            *bits &= !mask;
        }
        std::iter::from_fn(move || {
            let bit = (taken != 0).then(|| taken.trailing_zeros() as usize)?;
            taken &= taken - 1;
            Some(word * BITS + bit)
        })
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                Some(at * BITS + bit)
            })
        })
    }

    fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for row in self.iter() {
            match ranges.last_mut() {
                Some((first, count)) if *first as usize + *count as usize == row => *count += 1,
                _ => ranges.push((row as u32, 1)),
            }
        }
        ranges
    }
}

impl PartialEq for RowSet {
    fn eq(&self, other: &Self) -> bool {
        let word = |words: &[u64], at: usize| words.get(at).copied().unwrap_or(0);
        (0..self.words.len().max(other.words.len())).all(|at| word(&self.words, at) == word(&other.words, at))
    }
}

impl Extend<usize> for RowSet {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.insert(row));
    }
}

impl FromIterator<usize> for RowSet {
    fn from_iter<I: IntoIterator<Item = usize>>(rows: I) -> Self {
        let mut set = Self::default();
        set.extend(rows);
        set
    }
}

impl Serialize for RowSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ranges().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RowSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges: Vec<(u32, u32)> = Vec::deserialize(deserializer)?;
        if ranges.iter().any(|(first, count)| *first as usize + *count as usize > Self::MOST_ROWS) {
            return Err(serde::de::Error::custom(format!("a row set reaches beyond row {}", Self::MOST_ROWS)));
        }
        Ok(ranges.into_iter().flat_map(|(first, count)| first as usize..(first + count) as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_inserted_and_is_written_as_ranges() {
        let mut set: RowSet = [3, 64, 65, 66, 200].into_iter().collect();
        set.insert(4);
        set.remove(200);
        set.remove(9000);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 4, 64, 65, 66]);
        assert_eq!((set.len(), set.contains(64), set.contains(5), set.contains(9000)), (5, true, false, false));
        let text = serde_json::to_string(&set).expect("it has no keys");
        assert_eq!(text, "[[3,2],[64,3]]");
        assert_eq!(serde_json::from_str::<RowSet>(&text).ok(), Some(set));
        assert!(serde_json::from_str::<RowSet>("[[4000000000,1]]").is_err());
    }
}
