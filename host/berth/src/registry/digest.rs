//! Digests as OCI writes them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;

/// SHA-256 of some bytes: `sha256:` and 64 hexadecimal digits in lower case. Registries may use other algorithms too; Berth
/// does not, since a policy's own digest is this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let hash = <Sha256 as sha2::Digest>::digest(bytes);
        Self(hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
    }

    /// # Errors
    /// What it should have been.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() == 64 && hex.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a digest is sha256: and 64 hexadecimal digits in lower case")
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_and_nothing_else() {
        // FIPS 180-4, the example of one block.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        assert_eq!(Digest::parse(abc), Ok(Digest::of(b"abc")));
        let short = &abc[..70];
        for wrong in
            ["", "sha256:", short, &abc.to_uppercase(), &abc.replace("256", "512"), &abc[7..], &format!("{abc}0")]
        {
            assert!(Digest::parse(wrong).is_err(), "{wrong}");
        }
    }
}
