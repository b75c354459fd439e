//! Connections to a registry: how long they may take, where they may lead, and by which certificates a registry is known.

use std::sync::Arc;

use anyhow::anyhow;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::client::{Settings, WHOLE};
use super::reference::Reference;
use crate::fail::hinted;

const REDIRECTIONS: u32 = 5;

/// # Errors
/// If this machine has no certificates to know a registry by.
pub(super) fn new(reference: &Reference, settings: Settings, secure: bool) -> anyhow::Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A registry with TLS may send nobody to a place without.
        .https_only(secure)
        .max_redirects(REDIRECTIONS)
        .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(settings.timeout))
        .timeout_resolve(Some(settings.timeout))
        .timeout_recv_response(Some(settings.timeout))
        .timeout_per_read(Some(settings.timeout))
        .timeout_per_write(Some(settings.timeout))
        .timeout_global(Some(settings.timeout * WHOLE));
    if secure {
        config = config.tls_config(tls()?);
    }
    if reference.is_loopback() {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

/// The certificates that this machine trusts, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn tls() -> anyhow::Result<TlsConfig> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let hint = "install the package ca-certificates, or name a file of some with SSL_CERT_FILE";
        let error = hinted("this machine has no certificates to know a registry by", hint);
        return Err(match found.errors.into_iter().next() {
            Some(cause) => anyhow!(cause).context(error),
            None => error.into(),
        });
    }
    let certificates = found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// What is wrong with TLS, where that is what is wrong.
pub(super) fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
