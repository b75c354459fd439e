//! Public keys, by which signatures are known.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};
use serde::Serialize;

use super::Signature;
use crate::load::{digest, read_at_most};

/// Bytes of a key file; a key has about 180.
const MOST: u64 = 64 << 10;

/// Names a public key: SHA-256 of it as SubjectPublicKeyInfo in DER, in hexadecimal. The same as
/// `openssl pkey -pubin -in FILE -outform DER | sha256sum`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyId(Arc<str>);

impl KeyId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it for a person to tell keys apart.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    pub(super) fn of(key: &VerifyingKey) -> Result<Self, KeyError> {
        let der = key.to_public_key_der().map_err(|_| KeyError::Encoding)?;
        Ok(Self(digest(der.as_bytes())))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a file gives no keys. The file itself is named by whoever shows this.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    #[error("it has more than {MOST} bytes")]
    TooLarge,
    #[error("it holds no key in PEM")]
    None,
    #[error("line {0} is no part of a key in PEM: a BEGIN or END that stands alone")]
    Torn(usize),
    #[error("it holds a private key, and the public one is wanted")]
    Private,
    #[error("it holds a public key, and the private one is wanted")]
    Public,
    #[error("its private key is encrypted; sign with the tool that made it")]
    Encrypted,
    #[error("it holds a {0:?}, and a key of P-256 is wanted")]
    Other(String),
    #[error("its key {0} is not one of P-256")]
    Curve(usize),
    #[error("it holds {0} keys, and one is wanted")]
    Several(usize),
    #[error("no random numbers are to be had: {0}")]
    Random(String),
    #[error("the key cannot be written as PEM")]
    Encoding,
}

/// Public keys that are known; at least one.
#[derive(Clone, Debug)]
pub struct Keys(Vec<(KeyId, VerifyingKey)>);

impl Keys {
    /// Reads the public keys in a file: one or several, each as a PEM `PUBLIC KEY`.
    ///
    /// # Errors
    /// If it cannot be read, holds no key, or anything in it is none of P-256.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let bytes = read_at_most(file, MOST).map_err(KeyError::Read)?.ok_or(KeyError::TooLarge)?;
        Self::parse(&String::from_utf8(bytes).map_err(|_| KeyError::None)?)
    }

    /// # Errors
    /// As [`Keys::read`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let blocks = blocks(text)?;
        if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
            return Err(KeyError::Private);
        }
        let mut keys = Vec::new();
        for (index, block) in blocks.into_iter().enumerate() {
            if block.label != "PUBLIC KEY" {
                return Err(KeyError::Other(crate::bounds::name(block.label.to_owned())));
            }
            let key = VerifyingKey::from_public_key_pem(&block.text).map_err(|_| KeyError::Curve(index + 1))?;
            keys.push((KeyId::of(&key)?, key));
        }
        if keys.is_empty() { Err(KeyError::None) } else { Ok(Self(keys)) }
    }

    /// Knows these keys too.
    pub fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The key by which this is the signature of a SHA-256.
    pub(super) fn signer(&self, hash: &[u8; 32], signature: &Signature) -> Option<&KeyId> {
        self.0.iter().find(|(_, key)| key.verify_prehash(hash, &signature.0).is_ok()).map(|(id, _)| id)
    }
}

/// Short names of the first ones, for a person.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let names: Vec<&str> = self.0.iter().take(SHOWN).map(|(id, _)| id.short()).collect();
        f.write_str(&names.join(", "))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// One block of PEM.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    /// With its first and its last line.
    pub(super) text: String,
}

/// The blocks of a PEM file, in order. Lines around them are notes.
///
/// # Errors
/// A line that looks like the begin or the end of a block, and is none: somebody may take what follows for a note.
pub(super) fn blocks(text: &str) -> Result<Vec<Block<'_>>, KeyError> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block<'_>)> = None;
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end())) {
        let of = |edge: &str| line.strip_prefix(edge).and_then(|rest| rest.strip_suffix("-----"));
        match (&mut open, of("-----BEGIN "), of("-----END ")) {
            (None, Some(label), _) => open = Some((number, Block { label, text: format!("{line}\n") })),
            (Some((_, block)), None, Some(label)) if label == block.label => {
                block.text.push_str(&format!("{line}\n"));
                blocks.extend(open.take().map(|(_, block)| block));
            }
            _ if line.contains("-----BEGIN") || line.contains("-----END") => return Err(KeyError::Torn(number)),
            (Some((_, block)), ..) => block.text.push_str(&format!("{line}\n")),
            (None, ..) => {}
        }
    }
    match open {
        Some((number, _)) => Err(KeyError::Torn(number)),
        None => Ok(blocks),
    }
}
