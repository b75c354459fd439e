//! What a reference names: `REGISTRY[:PORT]/REPOSITORY[:TAG][@DIGEST]`, by the grammar of the distribution project.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::digest::Digest;

/// The tag where a reference has neither tag nor digest, as all tools have it.
const LATEST: &str = "latest";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// An artifact in a repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Host, and port where it has one.
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag that is written, or the one that is meant where nothing is.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref().or(if self.digest.is_none() { Some(LATEST) } else { None })
    }

    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same with the digest that was found.
    pub(crate) fn at(&self, digest: &Digest) -> Self {
        Self { tag: self.tag().map(str::to_owned), digest: Some(digest.clone()), ..self.clone() }
    }

    /// Where the registry's API is: that of Docker Hub has another name than its references.
    pub(crate) fn host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }

    /// Whether the registry is on this machine by its name, where nobody stands between.
    pub(crate) fn is_loopback(&self) -> bool {
        let name = match self.registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
            None => self.registry.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let Some((registry, path)) = name.split_once('/').filter(|(registry, _)| names_registry(registry)) else {
            return Err("name the registry too: REGISTRY/REPOSITORY:TAG, such as ghcr.io/acme/near:1.2".to_owned());
        };
        if !is_registry(registry) {
            return Err(format!("{registry:?} is no registry: use HOST or HOST:PORT, in lower case"));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        if repository.len() > LONGEST_REPOSITORY || !repository.split('/').all(is_component) {
            let mend = "use a-z and 0-9 with single . _ or - between, and / between parts";
            return Err(format!("{repository:?} is no repository: {mend}"));
        }
        if let Some(tag) = tag.as_ref().filter(|tag| !is_tag(tag)) {
            return Err(format!("{tag:?} is no tag: use up to {LONGEST_TAG} of letters, 0-9, _ . and -"));
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

/// Whether the first part of a reference can be told from a repository.
fn names_registry(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<Ipv6Addr>().is_ok(),
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("", port.strip_prefix(':')),
        Some(_) => return false,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (text.starts_with('[') || host.split('.').all(label)) && (!text.contains(':') || port.is_some_and(is_port))
}

/// One part of a repository: runs of letters and digits with `.`, `_`, `__` or dashes between.
fn is_component(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |gap: &str| matches!(gap, "." | "_" | "__") || (!gap.is_empty() && gap.bytes().all(|c| c == b'-'));
    part.starts_with(plain) && part.ends_with(plain) && part.split(plain).filter(|gap| !gap.is_empty()).all(between)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=LONGEST_TAG).contains(&tag.len())
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
        && !tag.starts_with(['.', '-'])
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn references_say_registry_repository_tag_and_digest() {
        let of = |text: &str| text.parse::<Reference>().unwrap();
        let one = of("ghcr.io/acme/near:1.2");
        assert_eq!(
            (one.registry(), one.repository(), one.tag(), one.digest()),
            ("ghcr.io", "acme/near", Some("1.2"), None)
        );
        let both = of(&format!("127.0.0.1:5000/near:a@{DIGEST}"));
        assert_eq!(
            (both.registry(), both.tag(), both.digest().unwrap().as_str()),
            ("127.0.0.1:5000", Some("a"), DIGEST)
        );
        assert_eq!(of(&format!("ghcr.io/near@{DIGEST}")).tag(), None);
        assert_eq!(of("[::1]:5000/near").to_string(), "[::1]:5000/near:latest");
        assert_eq!(of("docker.io/acme/near").host(), "registry-1.docker.io");
        assert_eq!(one.at(&Digest::of(b"abc")).to_string(), format!("ghcr.io/acme/near:1.2@{DIGEST}"));
        for good in
            ["a.b/c_d/e__f/g--h.i:_x", "localhost/x", "[::1]/x", "x:1/y", "registry.example.com:443/a/b/c/d:V1.0-rc_1"]
        {
            of(good);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_mend() {
        for (wrong, mend) in [
            ("", "name the registry too"),
            ("near:1.2", "name the registry too"),
            ("acme/near", "name the registry too"),
            ("https://ghcr.io/acme/near", "is no registry"),
            ("GHCR.io/acme/near", "is no registry"),
            ("ghcr.io:/near", "is no registry"),
            ("ghcr.io:99999/near", "is no registry"),
            ("ghcr.io:+1/near", "is no registry"),
            ("-a.b/near", "is no registry"),
            ("[::1/near", "is no registry"),
            ("[::1]5/near", "is no registry"),
            ("a..b/near", "is no registry"),
            ("user:pass@ghcr.io/near", "a digest is"),
            ("ghcr.io/", "is no repository"),
            ("ghcr.io/Near", "is no repository"),
            ("ghcr.io/a//b", "is no repository"),
            ("ghcr.io/../b", "is no repository"),
            ("ghcr.io/a___b", "is no repository"),
            ("ghcr.io/a?b", "is no repository"),
            ("ghcr.io/a:", "is no tag"),
            ("ghcr.io/a:.b", "is no tag"),
            ("ghcr.io/a:b/c", "is no tag"),
            ("ghcr.io/a:b:c", "is no tag"),
            ("ghcr.io/a@sha512:00", "a digest is"),
            ("ghcr.io/a@", "a digest is"),
        ] {
            let refused = wrong.parse::<Reference>().unwrap_err();
            assert!(refused.contains(mend), "{wrong}: {refused}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_name_alone() {
        let is = |text: &str| format!("{text}/x").parse::<Reference>().unwrap().is_loopback();
        assert!(is("localhost") && is("localhost:5000") && is("127.0.0.1:5000") && is("127.9.9.9") && is("[::1]:80"));
        assert!(
            !is("localhost.example.com") && !is("10.0.0.1") && !is("127.example.com") && !is("[::2]") && !is("a:127")
        );
    }
}
