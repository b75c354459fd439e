//! Faults in input: what is wrong where, and how to mend it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A fault in one object. `field` is a path such as `spec.placement.clusterAffinities[1].affinityName`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    pub field: String,
    pub problem: String,
    /// What to do about it; empty where there is nothing to add.
    pub mend: String,
}

impl Issue {
    pub fn new(field: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { field: field.into(), problem: line(problem.into()), mend: line(mend.into()) }
    }

    /// The same fault in an object whose fields stand below `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.field = join(prefix, &self.field);
        self
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", plain(&self.field))?;
        }
        f.write_str(&self.problem)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

/// A fault with its place in the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadError {
    /// Name of the file, or what else the text came from.
    pub file: Arc<str>,
    /// Number of the document within the file, from 1.
    pub document: usize,
    /// Line within the file, from 1; 0 where unknown.
    pub line: usize,
    /// Kind, namespace and name as far as they are known; otherwise empty.
    pub object: String,
    #[serde(flatten)]
    pub issue: Issue,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, " (document {}): ", self.document)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", plain(&self.object))?;
        }
        write!(f, "{}", self.issue)
    }
}

impl std::error::Error for LoadError {}

/// Bytes of one part of a message at the most: what it quotes of the input may be of any length.
const LONGEST: usize = 512;

/// A value of the input as a message quotes it: cut, so that what is said of it stays in sight.
pub fn quoted(value: &serde_json::Value) -> String {
    const LONGEST_QUOTE: usize = 80;
    let text = value.to_string();
    let end = (0..=text.len().min(LONGEST_QUOTE)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

fn line(text: String) -> String {
    match plain(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(plain) => plain,
    }
}

/// Text of the input as a part of one line: cut where it is long, and without characters that a terminal obeys.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST && !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let end = (0..=text.len().min(LONGEST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut plain: String = text[..end].chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect();
    if end < text.len() {
        plain.push('…');
    }
    Cow::Owned(plain)
}

/// Control characters, and those that turn the direction of what follows them.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `a` and `b` as one path; either may be empty, and `b` may be an index such as `[1].name`.
pub fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_owned(),
        (_, true) => a.to_owned(),
        _ if b.starts_with('[') => format!("{a}{b}"),
        _ => format!("{a}.{b}"),
    }
}

/// Known words that are compared with one that is not known.
const MOST_KNOWN: usize = 1000;

/// The known word that `word` was most probably meant to be.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .take(MOST_KNOWN)
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len().min(word.len()) / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; long words count as far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(65).collect(), b.chars().take(65).collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(rows[i - 2][j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_close_to_a_known_one_are_recognised() {
        let known = ["clusterAffinity", "clusterAffinities", "spreadConstraints"];
        assert_eq!(did_you_mean("clusterafinity", known), Some("clusterAffinity"));
        assert_eq!(did_you_mean("spreadConstriants", known), Some("spreadConstraints"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(did_you_mean("mx", ["min", "max"]), Some("max"));
    }

    #[test]
    fn what_is_quoted_fits_a_line() {
        assert_eq!(plain("short"), "short");
        assert_eq!(plain("a\u{1b}[2J\nb\u{202e}"), "a [2J b ");
        assert_eq!(quoted(&"1x".into()), "\"1x\"");
        assert!(quoted(&"é".repeat(100).into()).ends_with("é…"));
        let issue = Issue::new("x".repeat(10_000), "é".repeat(10_000), "");
        assert!(issue.problem.len() <= LONGEST + '…'.len_utf8() && issue.to_string().len() < 3 * LONGEST);
    }

    #[test]
    fn paths_join_at_dots_and_indexes() {
        assert_eq!(join("", "spec"), "spec");
        assert_eq!(join("spec", ""), "spec");
        assert_eq!(join("spec", "max"), "spec.max");
        assert_eq!(join("spec.rules", "[1].name"), "spec.rules[1].name");
    }
}
