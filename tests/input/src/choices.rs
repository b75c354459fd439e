//! Bytes as a source of choices, so that a fuzzer that changes bytes changes what is chosen.

/// When the bytes are over, every choice is the first one.
#[derive(Clone, Debug)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn are_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of `0..n`; 0 where there is none. `n` is small: one byte chooses.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()).checked_rem(n).unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Small in most cases, and every now and then as large as it can be.
    pub(crate) fn count(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => u32::MAX / 2,
            253 => 1 << 16,
            byte => u32::from(byte) % 12,
        }
    }
}
