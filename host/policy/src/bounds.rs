//! How much of what a guest says is taken: counts that an answer can need at the most, and texts that fit a line.
//!
//! Looked at before anything is converted. Wasmtime limits the bytes of one answer; this limits what is kept of them.

use std::borrow::Cow;

/// Bytes of a sentence for a person.
const MESSAGE: usize = 512;
/// Bytes of the name of a term.
const NAME: usize = 63;
/// Terms a candidate that are looked at; the planner keeps fewer.
pub(crate) const TERMS: usize = 16;

/// An answer with more entries than its question allows.
#[derive(Debug, thiserror::Error)]
#[error("it has {has} {what}, and there can be {most} at the most")]
pub(crate) struct TooMany {
    what: &'static str,
    has: usize,
    most: usize,
}

pub(crate) fn at_most(what: &'static str, has: usize, most: usize) -> Result<(), TooMany> {
    if has > most { Err(TooMany { what, has, most }) } else { Ok(()) }
}

/// One line of at most 512 bytes; control characters, which a terminal might obey, become spaces.
pub(crate) fn message(text: String) -> String {
    line(text, MESSAGE)
}

/// One line of at most 63 bytes.
pub(crate) fn name(text: String) -> String {
    line(text, NAME)
}

fn line(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most.saturating_sub('…'.len_utf8())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    match plain(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(plain) => plain,
    }
}

fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_at_a_character() {
        assert_eq!(message("short".into()), "short");
        let cut = message("é".repeat(400));
        assert!(cut.len() <= MESSAGE && cut.ends_with("é…"), "{cut}");
        assert_eq!(name("x".repeat(63)).len(), 63);
        assert_eq!(name("x".repeat(64)), format!("{}…", "x".repeat(60)));
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(message("a\u{1b}[31mb\nc".into()), "a [31mb c");
    }

    #[test]
    fn counts_are_inclusive() {
        assert!(at_most("moves", 3, 3).is_ok());
        let error = at_most("moves", 4, 3).map_err(|error| error.to_string());
        assert_eq!(error, Err("it has 4 moves, and there can be 3 at the most".into()));
    }
}
