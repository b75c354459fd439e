//! Frames of a file: a mark, a length, a checksum, and what they are about.
//!
//! Holds: a frame whose bytes are not those that were written is never given out; what comes after it is found again by the
//! next mark. A frame that a file ends in was under way when its writer died, or still is.

use sha2::{Digest, Sha256};

const MARK: [u8; 4] = *b"BDR1";
const SUM: usize = 8;
const HEAD: usize = MARK.len() + 4 + SUM;

/// The first bytes of a SHA-256: damage goes undetected once in 2^64.
fn sum(length: [u8; 4], content: &[u8]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    hash.update(length);
    hash.update(content);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash.finalize()[..SUM]);
    sum
}

/// A frame around a kind of content.
pub(super) fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + 1 + content.len());
    bytes.extend(MARK);
    let length = (content.len() as u32 + 1).to_le_bytes();
    bytes.extend(length);
    bytes.extend([0; SUM]);
    bytes.push(kind);
    bytes.extend(content);
    let sum = sum(length, &bytes[HEAD..]);
    bytes[HEAD - SUM..HEAD].copy_from_slice(&sum);
    bytes
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    Frame {
        kind: u8,
        content: &'a [u8],
    },
    /// So many bytes that are no frame.
    Damaged {
        offset: usize,
        bytes: usize,
    },
    /// The file ends within a frame.
    Torn,
}

/// The frames of a file, from the first to the last.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The content of the frame that begins at a place, and where it ends.
    fn whole(&self, at: usize) -> Option<(&'a [u8], usize)> {
        let rest = self.bytes.get(at..)?.strip_prefix(&MARK)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (found, rest) = rest.split_first_chunk::<SUM>()?;
        let content = rest.get(..u32::from_le_bytes(*length) as usize)?;
        (*found == sum(*length, content)).then_some((content, at + HEAD + content.len()))
    }

    /// Whether the bytes from a place on could be the beginning of a frame.
    fn begins(&self, at: usize) -> bool {
        let rest = &self.bytes[at..];
        let mark = MARK.get(..rest.len()).unwrap_or(&MARK);
        let length = rest.get(MARK.len()..).and_then(|rest| rest.first_chunk::<4>());
        let ends = |length: &[u8; 4]| (u32::from_le_bytes(*length) as usize).saturating_add(HEAD) <= rest.len();
        rest.starts_with(mark) && !length.is_some_and(ends)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let (from, end) = (self.at, self.bytes.len());
        if from >= end {
            return None;
        }
        if let Some((content, next)) = self.whole(from) {
            self.at = next;
            let (kind, content) = content.split_first()?;
            return Some(Found::Frame { kind: *kind, content });
        }
        let next = (from + 1..end).find(|at| self.whole(*at).is_some());
        self.at = next.unwrap_or(end);
        if next.is_none() && self.begins(from) {
            return Some(Found::Torn);
        }
        Some(Found::Damaged { offset: from, bytes: self.at - from })
    }
}
