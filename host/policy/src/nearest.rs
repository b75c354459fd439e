//! The name that was meant, for messages about one that is not known.

/// The name that a word resembles, if any of them is near enough.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.into_iter().map(|name| (edits(word, name), name)).min()?;
    (distance <= 1 + word.len() / 3).then_some(name)
}

/// What follows a message: the name that was meant, or nothing.
pub(crate) fn hint<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The hint for serde's "unknown field `x`, expected one of `a`, `b`".
pub(crate) fn hint_of(message: &str) -> String {
    let unknown = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "));
    let mut quoted = unknown.unwrap_or_default().split('`').skip(1).step_by(2);
    quoted.next().map(|word| hint(word, quoted)).unwrap_or_default()
}

/// Edits that turn one word into the other (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
