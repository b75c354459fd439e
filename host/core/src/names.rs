//! What Kubernetes lets names and labels be. Plain checks of text; whoever calls them says what is wrong and how to mend it.

/// At most 253 characters of lower-case labels with dots between them.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|part| is_label(part, 253))
}

/// At most 63 lower-case letters, digits and dashes, with a letter or digit at both ends.
pub fn is_dns_label(name: &str) -> bool {
    is_label(name, 63)
}

fn is_label(name: &str, longest: usize) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        && [name.bytes().next(), name.bytes().next_back()].into_iter().flatten().all(alphanumeric)
}

/// `prefix/name` with an optional prefix, as label and annotation keys and taint keys are.
pub fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// Empty, or like the name part of a label key.
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && [name.bytes().next(), name.bytes().next_back()]
            .into_iter()
            .flatten()
            .all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dns() {
        assert!(is_subdomain("a.b-c.d1"));
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", &"a".repeat(254)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
        assert!(is_dns_label(&"a".repeat(63)) && !is_dns_label(&"a".repeat(64)));
        assert!(is_qualified_name("nvidia.com/gpu.product") && !is_qualified_name("a/b/c") && !is_qualified_name("/a"));
        assert!(is_label_value("") && is_label_value("A_b.c") && !is_label_value("a b"));
    }
}
