//! What happened in a run, line by line, for people. Kept only where somebody is going to read it.

use std::fmt;

use super::script::span;

#[derive(Debug, Default)]
pub(crate) struct Story {
    told: bool,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: u64,
    who: &'static str,
    what: String,
}

impl Story {
    /// A story that is told.
    pub(crate) fn told() -> Self {
        Self { told: true, lines: Vec::new() }
    }

    pub(crate) fn say(&mut self, at: u64, who: &'static str, what: &str) {
        if self.told {
            self.lines.push(Line { at, who, what: what.to_owned() });
        }
    }
}

/// Lines at the beginning and at the end that are shown of a long story.
const HEAD: usize = 150;
const TAIL: usize = 150;

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.lines.len().saturating_sub(HEAD + TAIL);
        for (number, line) in self.lines.iter().enumerate() {
            if hidden > 0 && number == HEAD {
                writeln!(f, "{:14}... {hidden} lines left out ...", "")?;
            }
            if hidden == 0 || number < HEAD || number >= HEAD + hidden {
                writeln!(f, "{:>12}  {:10}{}", span(line.at), line.who, line.what)?;
            }
        }
        Ok(())
    }
}
