//! Who may ask, and how long and how large a request may be.
//!
//! - With a token, every request except the health probes must carry it. It is compared by digest, in constant time.
//! - Without one, the API listens on loopback only. There a page in the user's browser is the danger: a `Host` that is not
//!   this machine (DNS rebinding) and requests that the browser marks as coming from another site are refused, no answer
//!   allows another origin, and everything that changes state needs a JSON body, which browsers send across sites only
//!   after asking.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::Refusal;

pub(crate) const LARGEST_BODY: usize = 16 << 20;
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Open to everyone: they say only whether the program is well.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// SHA-256 of the token; the token itself is not kept.
    token: Option<Arc<[u8; 32]>>,
}

impl Access {
    pub(crate) fn new(token: Option<&str>) -> Self {
        Self { token: token.map(|token| Arc::new(Sha256::digest(token).into())) }
    }

    fn allows(&self, request: &Request) -> Result<(), Refusal> {
        if PROBES.contains(&request.uri().path()) {
            return Ok(());
        }
        let headers = request.headers();
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(expected) = &self.token else {
            if !text(header::HOST).is_some_and(is_loopback_host) {
                return Err(Refusal::new(StatusCode::FORBIDDEN, "ForeignHost", "this Host is not served").hint(
                    "ask for 127.0.0.1 or localhost; other names need `berth run --listen ADDR --token-file FILE`",
                ));
            }
            let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
            if matches!(site, Some("cross-site" | "same-site")) {
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "ForeignSite",
                    "requests from other sites are not served",
                ));
            }
            return Ok(());
        };
        let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given).into();
        if same(&given, expected) {
            Ok(())
        } else {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", "the token is missing or wrong")
                .hint("pass it with --token-file or BERTH_TOKEN"))
        }
    }
}

/// Looks at every byte, whatever it finds.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(address, port)| address == "::1" && is_port(port)),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let port = &host[name.len()..];
    is_port(port)
        && (name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()))
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

pub(crate) async fn access(State(access): State<Access>, request: Request<Body>, next: Next) -> Response {
    match access.allows(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Ends requests that take too long, slowly sent bodies included.
pub(crate) async fn timeout(request: Request<Body>, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "Timeout", "the request took too long").into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let builder = headers.iter().fold(Request::get(path), |builder, (name, value)| builder.header(*name, *value));
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_this_machine_is_a_host() {
        for good in ["localhost", "LOCALHOST:7878", "127.0.0.1", "127.0.0.1:1", "127.9.9.9:80", "[::1]", "[::1]:7878"] {
            assert!(is_loopback_host(good), "{good}");
        }
        let bad = [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil:1",
            "10.0.0.1",
            "[::2]:1",
            "localhost:x",
            "[::1",
        ];
        for bad in bad {
            assert!(!is_loopback_host(bad), "{bad}");
        }
    }

    #[test]
    fn without_a_token_only_local_requests_pass() {
        let access = Access::new(None);
        let code = |request: &Request| access.allows(request).err().map(|refusal| refusal.error.code);
        assert_eq!(code(&request("/api/v1/top", &[("host", "127.0.0.1:7878")])), None);
        assert_eq!(code(&request("/api/v1/top", &[("host", "evil.example")])).as_deref(), Some("ForeignHost"));
        assert_eq!(code(&request("/api/v1/top", &[])).as_deref(), Some("ForeignHost"));
        let page = request("/metrics", &[("host", "localhost"), ("sec-fetch-site", "cross-site")]);
        assert_eq!(code(&page).as_deref(), Some("ForeignSite"));
        assert_eq!(code(&request("/healthz", &[("host", "evil.example")])), None);
    }

    #[test]
    fn with_a_token_everything_but_the_probes_needs_it() {
        let access = Access::new(Some("0123456789abcdef"));
        let status = |path: &str, header: &str| {
            access.allows(&request(path, &[("authorization", header)])).err().map(|refusal| refusal.status)
        };
        assert_eq!(status("/metrics", "Bearer 0123456789abcdef"), None);
        for wrong in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert_eq!(status("/metrics", wrong), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
        assert_eq!(status("/healthz", ""), None);
    }
}
