//! A stream of draws from one seed, for making scenarios. What is drawn later depends on what was drawn before; a stream
//! has a name, so that one part of a scenario can grow without changing the others.

use crate::random;

#[derive(Clone, Debug)]
pub(crate) struct Dice {
    seed: u64,
    stream: String,
    drawn: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        Self { seed, stream: stream.to_owned(), drawn: 0 }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.drawn += 1;
        random::draw(self.seed, &self.stream, self.drawn)
    }

    /// From `min` to `max`, both included.
    pub(crate) fn between(&mut self, min: u64, max: u64) -> u64 {
        self.drawn += 1;
        random::between(self.seed, &self.stream, self.drawn, min, max)
    }

    /// Whether something of so many per cent happens.
    pub(crate) fn chance(&mut self, per_cent: u64) -> bool {
        self.number() % 100 < per_cent
    }

    /// One of these, of which there must be some.
    pub(crate) fn pick<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        let at = self.number() % choice.len().max(1) as u64;
        &choice[at as usize]
    }

    /// One of these, if there are any.
    pub(crate) fn one<'a, T>(&mut self, choice: &'a [T]) -> Option<&'a T> {
        if choice.is_empty() { None } else { Some(self.pick(choice)) }
    }
}
