//! Expected output against what was printed: `[..]` stands for anything within a line, a line with only `...` for any
//! number of lines, and one space for any number of spaces, since columns are as wide as what is in them.

/// Whether the whole of `lines` is what `expected` says.
pub(crate) fn matches(expected: &[String], lines: &[String]) -> bool {
    let Some((first, rest)) = expected.split_first() else { return lines.is_empty() };
    if first == "..." {
        return (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]));
    }
    lines.split_first().is_some_and(|(line, others)| line_matches(first, line) && matches(rest, others))
}

fn line_matches(expected: &str, line: &str) -> bool {
    let (expected, line) = (squeeze(expected), squeeze(line));
    let mut parts = expected.split("[..]");
    let Some(mut rest) = line.as_str().strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn wildcards_match_what_they_stand_for() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let matched = |expected: &str, printed: &str| matches(&lines(expected), &lines(printed));
    assert!(matched("a\n...\nz", "a\nb\nc\nz") && matched("a\n...\nz", "a\nz") && matched("...", ""));
    assert!(!matched("a\n...\nz", "a\nb") && !matched("a", "a\nb") && !matched("a\nb", "a"));
    assert!(matched("took [..] ms", "took 12 ms") && matched("[..]x[..]", "axb") && line_matches("[..]", ""));
    assert!(matched("a b", "a   b ") && !matched("a b", "ab"));
    assert!(!matched("took [..] ms", "took 12 s") && !matched("a[..]b[..]c", "acb"));
}
