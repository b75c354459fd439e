//! Rules of `policies.toml` that say which policy decides for whom.
//!
//! ```toml
//! [[bind]]
//! kind = "placement"
//! namespaces = ["research", "team-*"]   # any of them; * stands for any characters
//! labels = { tier = "batch" }           # all of them, on the workload
//! division = ["Free"]                   # any of them; placement only
//! policy = "cheap"
//! ```
//!
//! Holds: the first rule that fits decides; looking for it allocates nothing. A rule that can fit nothing, or that leaves
//! nothing to those after it, is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::ids::PolicyName;
use berth_core::names::{is_label_value, is_qualified_name};
use berth_core::policy::{Kind, Subject};
use berth_core::workload::Division;
use serde::Deserialize;
use toml::Spanned;

use crate::config::is_name;

/// One `[[bind]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub kind: Kind,
    /// Patterns of namespaces; `None` for all of them.
    pub namespaces: Option<Vec<Arc<str>>>,
    /// Labels that a workload must have.
    pub labels: Labels,
    /// `None` for all of them.
    pub divisions: Option<Vec<Division>>,
    pub policy: PolicyName,
}

impl Rule {
    /// Whether it decides for a workload.
    pub fn fits(&self, kind: Kind, subject: &Subject<'_>) -> bool {
        self.kind == kind
            && self.divisions.as_ref().is_none_or(|divisions| divisions.contains(&subject.division))
            && self
                .namespaces
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|one| matches(one, subject.namespace)))
            && self.labels.on(subject)
    }
}

/// Labels that all have to be on a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(Arc<str>, Arc<str>)>);

impl Labels {
    /// Whether the workload has all of them; one that names none fits every workload.
    pub fn on(&self, subject: &Subject<'_>) -> bool {
        self.0.iter().all(|(key, value)| subject.labels.get(&**key) == Some(value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Something in the text that cannot be, with its place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte of the text at which it begins.
    pub(crate) at: usize,
    pub(crate) what: String,
}

pub(crate) fn fault<T>(at: usize, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, what: what.into() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    kind: Kind,
    namespaces: Option<Spanned<Vec<Spanned<String>>>>,
    labels: Option<Spanned<RawLabels>>,
    division: Option<Spanned<Vec<Division>>>,
    policy: Spanned<String>,
}

pub(crate) type RawLabels = BTreeMap<Spanned<String>, Spanned<String>>;

impl RawRule {
    /// The rule, and where its text names the policy.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub(crate) fn check(rule: Spanned<Self>) -> Result<(Rule, usize), Fault> {
        let at = rule.span().start;
        let RawRule { kind, namespaces, labels, division, policy } = rule.into_inner();
        if namespaces.is_none() && labels.is_none() && division.is_none() {
            let what = "the rule says nothing of whom it is for; give it namespaces, labels or division, or make the policy \
                        the default of [placement], [gang] or [migration]";
            return fault(at, what);
        }
        if let Some(division) = &division {
            if kind != Kind::Placement {
                let what = format!("division is for placement policies, and the rule is for {}", kind.as_str());
                return fault(division.span().start, format!("{what}; leave it away"));
            }
            if division.get_ref().is_empty() {
                return fault(
                    division.span().start,
                    "division is empty, so that the rule is for nobody; leave it away for all",
                );
            }
        }
        let name_at = policy.span().start;
        let policy = policy.into_inner();
        if !is_name(&policy) {
            return fault(name_at, format!("no policy is called {policy:?}; use 1 to 63 of a-z, 0-9 and -"));
        }
        let rule = Rule {
            kind,
            namespaces: namespaces.map(patterns).transpose()?,
            labels: labels.map(check_labels).transpose()?.unwrap_or_default(),
            divisions: division.map(Spanned::into_inner),
            policy: PolicyName::new(policy),
        };
        Ok((rule, name_at))
    }
}

/// # Errors
/// No label at all, and what Kubernetes does not take for one.
pub(crate) fn check_labels(labels: Spanned<RawLabels>) -> Result<Labels, Fault> {
    let at = labels.span().start;
    let labels = labels.into_inner();
    if labels.is_empty() {
        return fault(at, "labels is empty; name at least one, such as { tier = \"batch\" }, or leave it away");
    }
    let mut checked = Vec::with_capacity(labels.len());
    for (key, value) in labels {
        if !is_qualified_name(key.get_ref()) {
            let mend = "use NAME or PREFIX/NAME in quotes, as Kubernetes has it, such as \"example.com/tier\"";
            return fault(key.span().start, format!("{:?} is no label key; {mend}", key.get_ref()));
        }
        if !is_label_value(value.get_ref()) {
            let mend = "use at most 63 letters, digits, -, _ and ., with a letter or digit at both ends";
            return fault(value.span().start, format!("{:?} is no label value; {mend}", value.get_ref()));
        }
        checked.push((key.into_inner().into(), value.into_inner().into()));
    }
    Ok(Labels(checked))
}

fn patterns(namespaces: Spanned<Vec<Spanned<String>>>) -> Result<Vec<Arc<str>>, Fault> {
    let at = namespaces.span().start;
    let namespaces = namespaces.into_inner();
    if namespaces.is_empty() {
        return fault(at, "namespaces is empty, so that the rule is for nobody; leave it away for all");
    }
    let mut checked = Vec::with_capacity(namespaces.len());
    for one in namespaces {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*".contains(&byte);
        let text = one.get_ref();
        if text.is_empty() || text.len() > 63 || !text.bytes().all(plain) {
            let mend = "use 1 to 63 of a-z, 0-9 and -, and * for any characters, such as \"team-*\"";
            return fault(one.span().start, format!("{text:?} is no namespace; {mend}"));
        }
        checked.push(one.into_inner().into());
    }
    Ok(checked)
}

/// Whether a name is as the pattern has it, in which `*` stands for any characters, also for none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    // The leftmost place is the best for each part but the last, which must end the name.
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
        rest = after;
    }
    name.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("team-*", "team-", true),
            ("team-*", "team-x", true),
            ("team-*", "team", false),
            ("*", "", true),
            ("*-prod", "web-prod", true),
            ("*-prod", "web-prod-1", false),
            ("a*b*c", "aXbbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**c", "abc", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
