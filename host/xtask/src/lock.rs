//! `policies/policies.lock`: for each built-in policy the digests of its sources and of its component.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

const HEAD: &str = "# Written by `cargo run -p xtask -- policies build`; SHA-256 of what each component is made from, and of the component.\n";

/// The lock file, by name of policy.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Lock(pub(crate) BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) sources: String,
    pub(crate) component: String,
}

pub(crate) fn path(root: &Path) -> PathBuf {
    root.join("policies/policies.lock")
}

impl Lock {
    /// Reads the lock file; without one nothing is locked.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = path(root);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is not valid", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let path = path(root);
        fs::write(&path, self.text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let entry = |(name, entry): (&String, &Entry)| {
            format!("\n[{name}]\nsources = \"{}\"\ncomponent = \"{}\"\n", entry.sources, entry.component)
        };
        std::iter::once(HEAD.to_owned()).chain(self.0.iter().map(entry)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let entry = Entry { sources: "ab".into(), component: "cd".into() };
        let lock = Lock([("cost".to_owned(), entry)].into());
        assert_eq!(toml::from_str::<Lock>(&lock.text()).unwrap(), lock);
        assert!(toml::from_str::<Lock>("[cost]\nsources = \"ab\"\n").is_err());
    }
}
