//! Which names this API answers to, and which sites may speak to it.
//!
//! A page in the user's browser is a danger to every service that the browser can reach. A page whose own name resolves to
//! this machine (DNS rebinding) shows in `Host`: no name is served but those of this machine and those that were set.
//! Addresses cannot be rebound; they are served where the API listens beyond loopback. A page of another site shows in
//! `Origin` and `Sec-Fetch-Site`, which browsers set and pages cannot change.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::Refusal;

#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// In lower case.
    names: Vec<String>,
    beyond_loopback: bool,
}

impl Hosts {
    /// `names` are those that were set, for an API that listens on `address`.
    pub(crate) fn new(names: &[String], address: SocketAddr) -> Self {
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { names, beyond_loopback: !address.ip().is_loopback() }
    }

    /// # Errors
    /// If the request is not for this API, or comes from a page of another site.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Refusal> {
        let host = host(request)?;
        if !self.serves(&host) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "ForeignHost", "this Host is not served")
                .hint("ask for 127.0.0.1 or localhost; `berth run --allow-host NAME` adds another name"));
        }
        if is_foreign_site(request.headers(), &host) {
            let message = "requests from pages of other sites are not served";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "ForeignSite", message));
        }
        Ok(())
    }

    fn serves(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match address.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                address.is_loopback() || (self.beyond_loopback && !address.is_unspecified())
            }
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// The one host that the request is for, without doubt.
fn host(request: &Request) -> Result<Authority, Refusal> {
    let bad = |message| Refusal::new(StatusCode::BAD_REQUEST, "BadHost", message);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad("a request has one Host"));
    };
    let host: Authority = host
        .to_str()
        .ok()
        .filter(|host| !host.contains('@'))
        .and_then(|host| host.parse().ok())
        .filter(|host: &Authority| host.port().is_none() == host.as_str().ends_with(host.host()))
        .ok_or_else(|| bad("Host is no name and port"))?;
    match request.uri().authority() {
        Some(other) if *other != host => Err(bad("the request line and Host name different hosts")),
        _ => Ok(host),
    }
}

/// Browsers send neither header for what a user types or a program sends.
fn is_foreign_site(headers: &HeaderMap, host: &Authority) -> bool {
    let foreign_site = headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none");
    let own = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    };
    let foreign_origin = headers.get_all(header::ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(own));
    foreign_site || foreign_origin
}

/// A name that may be set: letters, digits, hyphens and dots.
///
/// # Errors
/// If `text` is none.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if text.is_empty() || text.len() > 253 || !text.bytes().all(fits) {
        return Err("use a name without scheme and port, such as berth.example.com".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use axum::body::Body;

    use super::*;

    fn code(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let builder = headers.iter().fold(Request::get(uri), |builder, (name, value)| builder.header(*name, *value));
        hosts.check(&builder.body(Body::empty()).unwrap()).err().map(|refusal| refusal.error.code)
    }

    #[test]
    fn only_this_machine_and_what_was_set_is_a_host() {
        let loopback = Hosts::new(&["Berth.example".to_owned()], "127.0.0.1:7878".parse().unwrap());
        let open = Hosts::new(&[], "0.0.0.0:7878".parse().unwrap());
        let good = ["localhost", "LOCALHOST:7878", "127.0.0.1", "127.0.0.1:1", "127.9.9.9:80", "[::1]", "[::1]:7878"];
        for host in good {
            assert_eq!(code(&loopback, "/", &[("host", host)]), None, "{host}");
            assert_eq!(code(&open, "/", &[("host", host)]), None, "{host}");
        }
        assert_eq!(code(&loopback, "/", &[("host", "berth.EXAMPLE:7878")]), None);
        assert_eq!(code(&open, "/", &[("host", "10.0.0.1:7878")]), None);
        let foreign =
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil:1", "[::2]:1", "0.0.0.0:7878", "localhost."];
        for host in foreign.iter().chain(&["10.0.0.1", "berth.example.evil"]) {
            assert_eq!(code(&loopback, "/", &[("host", host)]).as_deref(), Some("ForeignHost"), "{host}");
        }
        for host in ["berth.example", "evil.example", "0.0.0.0", "[::]"] {
            assert_eq!(code(&open, "/", &[("host", host)]).as_deref(), Some("ForeignHost"), "{host}");
        }
        for host in ["", "localhost:x", "[::1", "evil@localhost", "localhost:1:2", "local host", "localhost:99999"] {
            assert_eq!(code(&loopback, "/", &[("host", host)]).as_deref(), Some("BadHost"), "{host}");
        }
        assert_eq!(code(&loopback, "/", &[]).as_deref(), Some("BadHost"));
        assert_eq!(code(&loopback, "/", &[("host", "localhost"), ("host", "localhost")]).as_deref(), Some("BadHost"));
        assert_eq!(code(&loopback, "http://localhost/", &[("host", "localhost")]), None);
        assert_eq!(code(&loopback, "http://evil/", &[("host", "localhost")]).as_deref(), Some("BadHost"));
    }

    #[test]
    fn pages_of_other_sites_are_told_by_what_browsers_send() {
        let hosts = Hosts::new(&[], "127.0.0.1:7878".parse().unwrap());
        let code = |header: (&str, &str)| code(&hosts, "/metrics", &[("host", "localhost:7878"), header]);
        for own in [
            ("origin", "http://localhost:7878"),
            ("origin", "https://LOCALHOST:7878"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(code(own), None, "{own:?}");
        }
        for foreign in [
            ("origin", "null"),
            ("origin", ""),
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:7879"),
            ("origin", "http://localhost"),
            ("origin", "http://localhost:7878.evil.example"),
            ("origin", "file://localhost:7878"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "news"),
        ] {
            assert_eq!(code(foreign).as_deref(), Some("ForeignSite"), "{foreign:?}");
        }
    }

    #[test]
    fn names_are_names() {
        assert!(["berth", "berth.example.com", "a-b.c"].iter().all(|text| name(text).is_ok()));
        assert!(["", "http://a", "a:1", "a/b", "a b", "*.a"].iter().all(|text| name(text).is_err()));
    }
}
