//! Signatures, and the files that they are in.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use p256::ecdsa;
use serde::Deserialize;

use super::Untrusted;
use crate::load::read_at_most;

/// Bytes of a signature file. A signature in base64 has about 96, a bundle with proofs that it was logged some thousands.
const MOST: u64 = 64 << 10;

/// A signature of a component. As text it is what `berth policy sign` writes and `cosign` reads: its DER in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub(super) ecdsa::Signature);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(self.0.to_der().as_bytes()))
    }
}

/// Where the signature of a component is: beside it, under its name and `.sig`.
pub fn signature_file(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// What is read of a Sigstore bundle (`application/vnd.dev.sigstore.bundle`): what else it proves is nothing to us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    message_signature: MessageSignature,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

impl Signature {
    /// From its base64, which may be broken into lines, as `openssl base64` breaks it, or from a Sigstore bundle.
    ///
    /// # Errors
    /// What about it is not as it must be.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let mut text: String =
            text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte)).collect();
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.starts_with('{') {
            let bundle: Bundle = serde_json::from_str(&text)
                .map_err(|_| "it is no Sigstore bundle with a signature of a file (messageSignature)")?;
            text = bundle.message_signature.signature;
        }
        let der = Base64::decode_vec(&text).map_err(|_| "it is not in base64")?;
        let signature = ecdsa::Signature::from_der(&der);
        signature.map(Self).map_err(|_| "its base64 holds no ECDSA signature of P-256 in DER")
    }

    /// The one beside a component; `None` where there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no signature.
    pub fn read(component: &Path) -> Result<Option<Self>, Untrusted> {
        let file = signature_file(component);
        let component = || component.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let malformed = |what: &'static str| Err(Untrusted::Malformed { component: component(), what });
        let text = match file.metadata() {
            // Opening a pipe would wait for whoever writes into it.
            Ok(metadata) if !metadata.is_file() => return malformed("it is no regular file"),
            Ok(_) => read_at_most(&file, MOST),
            Err(error) => Err(error),
        };
        match text {
            Ok(Some(text)) => Self::parse(&text).map(Some).or_else(malformed),
            Ok(None) => malformed("it is larger than a signature can be"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Untrusted::Unreadable { component: component(), source: Arc::new(error) }),
        }
    }
}
