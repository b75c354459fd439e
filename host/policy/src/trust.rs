//! Who may write policies: public keys that are known, the signature beside each component, and components that are trusted
//! without one.
//!
//! The scheme is that of `cosign sign-blob --key` and of `openssl dgst -sha256 -sign`: ECDSA on P-256 over the SHA-256 of the
//! component's bytes (FIPS 186-5), the signature in DER and base64 in `NAME.wasm.sig` beside `NAME.wasm`, by itself or in a
//! Sigstore bundle, which is what newer versions of cosign write. Keys are PEM as RFC 7468 has it.
//!
//! Holds: what is checked are the bytes that are compiled, before anything of them is; no key is known by accident, since a
//! file is taken whole or not at all, and [`Keys`] are never none.

mod keys;
mod private;
mod signature;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::load::hash;

pub use keys::{KeyError, KeyId, Keys};
pub use private::PrivateKey;
pub use signature::{Signature, signature_file};

/// Why a component is not trusted. The component itself is named by whoever shows this.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Untrusted {
    #[error(
        "it is not signed, and only what a known key signed is loaded; `berth policy sign {component} --key KEY` writes {component}.sig"
    )]
    Unsigned { component: String },
    #[error("its signature {component}.sig cannot be read")]
    Unreadable { component: String, source: Arc<std::io::Error> },
    #[error("{component}.sig is no signature: {what}; `berth policy sign {component} --key KEY` writes one")]
    Malformed { component: String, what: &'static str },
    #[error(
        "{component}.sig is no signature of it by a known key ({known}): one of the two was changed, or another key signed it; \
         `berth policy sign {component} --key KEY` signs it anew"
    )]
    Foreign { component: String, known: String },
}

/// Which components are loaded.
#[derive(Clone, Debug)]
pub struct Trust {
    keys: Keys,
    /// SHA-256 of components that need no signature.
    unsigned: BTreeSet<[u8; 32]>,
}

impl Trust {
    /// Trusts what one of the keys signed, and nothing else.
    pub fn new(keys: Keys) -> Self {
        Self { keys, unsigned: BTreeSet::new() }
    }

    /// Trusts a component of these very bytes without a signature.
    pub fn add(&mut self, component: &[u8]) {
        self.unsigned.insert(hash(component));
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Who signed a component of these bytes that is in this file, with the signature beside it; `None` where it needs none and
    /// has none that counts.
    ///
    /// # Errors
    /// If its signature is missing, malformed, or by no key that is known.
    pub fn check(&self, file: &Path, component: &[u8]) -> Result<Option<KeyId>, Untrusted> {
        self.check_hash(file, &hash(component))
    }

    /// Who signed a component of these bytes, which came with its signature or without one, and would be called so.
    ///
    /// # Errors
    /// As [`Trust::check`].
    pub fn check_with(
        &self,
        name: &str,
        component: &[u8],
        signature: Option<Signature>,
    ) -> Result<Option<KeyId>, Untrusted> {
        self.decide(name, &hash(component), Ok(signature))
    }

    pub(crate) fn check_hash(&self, file: &Path, hash: &[u8; 32]) -> Result<Option<KeyId>, Untrusted> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        self.decide(&name, hash, Signature::read(file))
    }

    fn decide(
        &self,
        name: &str,
        hash: &[u8; 32],
        signature: Result<Option<Signature>, Untrusted>,
    ) -> Result<Option<KeyId>, Untrusted> {
        let component = || name.to_owned();
        let signer = signature.and_then(|signature| {
            let signature = signature.ok_or_else(|| Untrusted::Unsigned { component: component() })?;
            let signer = self.keys.signer(hash, &signature).cloned();
            signer.ok_or_else(|| Untrusted::Foreign { component: component(), known: self.keys.to_string() })
        });
        match signer {
            Ok(signer) => Ok(Some(signer)),
            Err(_) if self.unsigned.contains(hash) => Ok(None),
            Err(untrusted) => Err(untrusted),
        }
    }
}
