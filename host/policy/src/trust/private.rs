//! Private keys, by which components are signed. A controller never has one.

use std::fmt;

use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};

use super::Signature;
use super::keys::{KeyError, KeyId, blocks};
use crate::load::hash;

/// Signs components. It is never shown.
pub struct PrivateKey {
    key: SigningKey,
    id: KeyId,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.id).finish()
    }
}

impl PrivateKey {
    /// A new one, by the operating system's random numbers.
    ///
    /// # Errors
    /// If it gives none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = p256::FieldBytes::default();
        loop {
            getrandom::fill(&mut bytes).map_err(|error| KeyError::Random(error.to_string()))?;
            // All but one of 2^32 numbers are within the curve's order.
            if let Ok(key) = SigningKey::from_bytes(&bytes) {
                return Self::of(key);
            }
        }
    }

    /// From PEM: a `PRIVATE KEY` (PKCS#8), or an `EC PRIVATE KEY` (SEC 1), as older commands of OpenSSL write it.
    ///
    /// # Errors
    /// If it holds anything else, or more than one key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut blocks = blocks(text)?;
        // Stands before the key where `openssl ecparam -genkey` wrote it, and says nothing that the key does not.
        blocks.retain(|block| block.label != "EC PARAMETERS");
        let [block] = blocks.as_slice() else {
            return Err(if blocks.is_empty() { KeyError::None } else { KeyError::Several(blocks.len()) });
        };
        let key = match block.label {
            "PRIVATE KEY" => SecretKey::from_pkcs8_pem(&block.text).ok(),
            // An encrypted one has headers, which no PEM of a key in the clear has.
            "EC PRIVATE KEY" if block.text.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
            "EC PRIVATE KEY" => SecretKey::from_sec1_pem(&block.text).ok(),
            "PUBLIC KEY" => return Err(KeyError::Public),
            label if label.starts_with("ENCRYPTED ") => return Err(KeyError::Encrypted),
            other => return Err(KeyError::Other(crate::bounds::name(other.to_owned()))),
        };
        Self::of(key.ok_or(KeyError::Curve(1))?.into())
    }

    fn of(key: SigningKey) -> Result<Self, KeyError> {
        let id = KeyId::of(key.verifying_key())?;
        Ok(Self { key, id })
    }

    /// Of the public key that belongs to it.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// As PEM of PKCS#8. What is returned is overwritten when it goes.
    ///
    /// # Errors
    /// None that could happen to a key.
    pub fn to_pem(&self) -> Result<impl AsRef<str> + use<>, KeyError> {
        let secret = SecretKey::from(&self.key);
        secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Encoding)
    }

    /// The public key that belongs to it, as PEM.
    ///
    /// # Errors
    /// None that could happen to a key.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        self.key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Encoding)
    }

    /// Signs a component. The same bytes get the same signature each time (RFC 6979).
    ///
    /// # Errors
    /// None that could happen to a key.
    pub fn sign(&self, component: &[u8]) -> Result<Signature, KeyError> {
        self.key.sign_prehash(&hash(component)).map(Signature).map_err(|_| KeyError::Encoding)
    }
}
