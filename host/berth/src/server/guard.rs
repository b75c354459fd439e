//! Who may ask, how often, how long and how much. In this order, so that what is refused costs little: rate of the address,
//! host and site, token, rate of the token, role; then the body, within what all bodies may have together.
//!
//! - Without a token the API listens on loopback only, which [`super::not_open_to_others`] holds it to.
//! - With tokens, every request except the health probes must carry one. Guesses are limited by the rate of the address.
//! - Everything that changes state is a POST with a JSON body, which browsers send across sites only after asking; the
//!   answer allows no other origin.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::error::Refusal;
use super::hosts::Hosts;
use super::limits::Limits;
use super::rate::{Client, Peer, Rates};
use crate::token::{Role, Tokens};

/// Open to everyone: they say only whether the program is well.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// How long the body of a request that is refused is read.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// In which bodies are counted.
const UNIT: usize = 1 << 10;

#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Tokens,
    hosts: Hosts,
    rates: Rates,
    /// Units that are left for bodies.
    bodies: Semaphore,
    max_body: usize,
    request_timeout: Duration,
}

impl Gate {
    pub(crate) fn new(tokens: Tokens, hosts: Hosts, limits: &Limits) -> Self {
        Self {
            tokens,
            hosts,
            rates: Rates::new(limits.rate_limit, limits.rate_burst.get()),
            bodies: Semaphore::new(limits.all_bodies() / UNIT),
            max_body: limits.max_body,
            request_timeout: limits.request_timeout,
        }
    }

    /// What the sender of `request` may do.
    fn admit(&self, request: &Request, now: Instant) -> Result<Role, Refusal> {
        let rated = |client| self.rates.take(client, now).map_err(Refusal::too_fast);
        if let Some(peer) = request.extensions().get::<Peer>() {
            rated(Client::Peer(*peer))?;
        }
        self.hosts.check(request)?;
        if PROBES.contains(&request.uri().path()) || self.tokens.is_empty() {
            return Ok(Role::Write);
        }
        let given = bearer(request.headers()).unwrap_or_default();
        let Some((index, role)) = self.tokens.find(given) else {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", "the token is missing or wrong")
                .hint("pass it with --token-file or BERTH_TOKEN"));
        };
        rated(Client::Token(index))?;
        if role == Role::Read && !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::read_only("this token may read, not change"));
        }
        Ok(role)
    }

    /// A client that is still sending when the connection closes does not see why. So its body is read, for a moment,
    /// unless it waits for leave to send it.
    async fn refuse(&self, refusal: Refusal, request: Request) -> Response {
        tracing::debug!(method = %request.method(), path = request.uri().path(), code = refusal.error.code, "refused");
        if !request.headers().contains_key(header::EXPECT) {
            drop(tokio::time::timeout(DISCARD_TIME, discard(request.into_body(), self.max_body)).await);
        }
        refusal.into_response()
    }

    /// Units that the body of `request` needs: as many as it says, or as many as it may have if it does not say.
    fn body_units(&self, request: &Request) -> Result<u32, Refusal> {
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let bytes: u64 = length.unwrap_or(if chunked { self.max_body as u64 } else { 0 });
        if bytes > self.max_body as u64 {
            let message = format!("the body has {bytes} bytes; at most {} are taken", self.max_body);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", message)
                .hint("send fewer objects at a time, or raise --max-body"));
        }
        Ok(bytes.div_ceil(UNIT as u64) as u32)
    }
}

/// Reads `body` to its end and forgets it, as far as `most` bytes.
async fn discard(mut body: Body, most: usize) {
    let mut bytes = 0;
    while bytes < most {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len()),
            _ => return,
        }
    }
}

/// The token that a request carries. More than one is none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()?.strip_prefix("Bearer ")
}

/// Lets in who may come in, and ends what takes too long, slowly sent bodies included. Handlers find the [`Role`] among the
/// request's extensions.
pub(crate) async fn guard(State(gate): State<Arc<Gate>>, mut request: Request<Body>, next: Next) -> Response {
    let units = gate.admit(&request, Instant::now()).and_then(|role| {
        request.extensions_mut().insert(role);
        gate.body_units(&request)
    });
    let units = match units {
        Ok(units) => units,
        Err(refusal) => return gate.refuse(refusal, request).await,
    };
    // Until the answer is there: by then the body is read, parsed and used.
    let Ok(_room) = gate.bodies.try_acquire_many(units) else {
        return gate.refuse(Refusal::busy("other requests with large bodies are under way"), request).await;
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match tokio::time::timeout(gate.request_timeout, next.run(request)).await {
        Ok(response) => {
            tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
            response
        }
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "Timeout", "the request took too long")
            .hint("look whether it was carried out")
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;
    use crate::token::Token;

    const READ: &str = "0123456789abcdef";
    const WRITE: &str = "fedcba9876543210";

    fn gate(limits: &[&str]) -> Gate {
        let mut tokens = Tokens::default();
        tokens.add(&Token::parse(READ).unwrap(), Role::Read);
        tokens.add(&Token::parse(WRITE).unwrap(), Role::Write);
        Gate::new(tokens, Hosts::new(&[], "127.0.0.1:1".parse().unwrap()), &Limits::parse(limits))
    }

    fn request(method: &str, path: &str, authorization: &[&str]) -> Request {
        let peer = Peer::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let builder = Request::builder().method(method).uri(path).header("host", "localhost").extension(peer);
        let builder = authorization.iter().fold(builder, |builder, value| builder.header("authorization", *value));
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn everything_but_the_probes_needs_a_token() {
        let gate = gate(&[]);
        let status = |path: &str, headers: &[&str]| {
            gate.admit(&request("GET", path, headers), Instant::now()).err().map(|refusal| refusal.status)
        };
        let right = format!("Bearer {READ}");
        assert_eq!(status("/metrics", &[&right]), None);
        let wrong = ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef", READ];
        for wrong in wrong {
            assert_eq!(status("/metrics", &[wrong]), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
        assert_eq!(status("/metrics", &[&right, &right]), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(status("/healthz", &[]), None);
        assert_eq!(status("/healthz/../metrics", &[]), Some(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn a_token_to_read_changes_nothing() {
        let gate = gate(&[]);
        let role = |method: &str, token: &str| {
            let request = request(method, "/api/v1/apply", &[&format!("Bearer {token}")]);
            gate.admit(&request, Instant::now()).map_err(|refusal| refusal.error.code)
        };
        assert_eq!(role("POST", WRITE), Ok(Role::Write));
        assert_eq!(role("GET", READ), Ok(Role::Read));
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            assert_eq!(role(method, READ), Err("ReadOnly".to_owned()), "{method}");
        }
    }

    #[test]
    fn guesses_and_tokens_are_rated_each() {
        let gate = gate(&["--rate-limit", "1", "--rate-burst", "3"]);
        let now = Instant::now();
        let code = |token: &str, now| {
            let request = request("GET", "/metrics", &[&format!("Bearer {token}")]);
            gate.admit(&request, now).err().map(|refusal| (refusal.error.code, refusal.retry_after))
        };
        let wrong = Some(("Unauthorized".to_owned(), None));
        assert_eq!([(); 3].map(|()| code("guess", now)), [wrong.clone(), wrong.clone(), wrong]);
        let slow = Some(("TooFast".to_owned(), Some(1)));
        assert_eq!(code(READ, now), slow, "the address asked too often");
        // The same token from many addresses.
        let from = |address: u8| {
            let mut request = request("GET", "/metrics", &[&format!("Bearer {READ}")]);
            request.extensions_mut().insert(Peer::from(std::net::IpAddr::from([10, 0, 0, address])));
            gate.admit(&request, now).map_err(|refusal| refusal.error.code)
        };
        assert_eq!([0, 1, 2, 3].map(from), [Ok(Role::Read), Ok(Role::Read), Ok(Role::Read), Err("TooFast".to_owned())]);
    }

    #[test]
    fn bodies_are_counted_by_what_they_say() {
        let gate = gate(&["--max-body", "1Mi"]);
        let units = |name: &str, value: &str| {
            let request = Request::post("/").header(name, value).body(Body::empty()).unwrap();
            gate.body_units(&request).map_err(|refusal| refusal.error.code)
        };
        assert_eq!(units("content-length", "1"), Ok(1));
        assert_eq!(units("content-length", "1048576"), Ok(1024));
        assert_eq!(units("content-length", "1048577"), Err("TooLarge".to_owned()));
        assert_eq!(units("transfer-encoding", "chunked"), Ok(1024));
        assert_eq!(units("accept", "x"), Ok(0));
    }
}
