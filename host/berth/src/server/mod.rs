//! The HTTP API: routes, their guards, and how it is served. Handlers ask the thread that owns the state and never touch
//! it themselves.

pub(crate) mod ask;
mod connections;
mod counts;
pub(crate) mod error;
mod guard;
pub(crate) mod hosts;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod page;
mod rate;
mod routes;
mod send;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fail::{Hinted, hinted};
use crate::run::engine::Engine;
use crate::token::Tokens;
use ask::Asker;
use counts::Counts;
use error::Refusal;
use guard::Gate;
use hosts::Hosts;
use limits::Limits;

/// The API's own description, maintained by hand and held against the handlers by a test.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

/// How the API is served.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) tokens: Tokens,
    /// Names it answers to, beside those of this machine.
    pub(crate) hosts: Vec<String>,
    pub(crate) limits: Limits,
}

/// The API as it is served on `address`, but for what concerns connections.
pub(crate) fn router(engine: Asker<Engine>, settings: &Settings, address: SocketAddr) -> Router {
    let Settings { tokens, hosts, limits, .. } = settings;
    let counts = Arc::new(Counts::default());
    let gate = Gate::new(tokens.clone(), Hosts::new(hosts, address), limits);
    let routes = routes::ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    routes
        .fallback(async || Refusal::not_found("there is nothing at this path").hint("/openapi.json describes the API"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path does not take this method")
        })
        .with_state(engine)
        .layer(DefaultBodyLimit::max(limits.max_body))
        .layer(middleware::from_fn_with_state(Arc::new(gate), guard::guard))
        .layer(Extension(counts.clone()))
        .layer(middleware::map_response_with_state(counts, harden))
}

/// What every answer tells a browser: guess no type, run and frame nothing, keep nothing, show it to no other site.
const HARDENED: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn harden(State(counts): State<Arc<Counts>>, mut response: Response) -> Response {
    counts.answered(response.status());
    for (name, value) in HARDENED {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An API that others can reach is not open to everyone.
///
/// # Errors
/// If it would be.
pub(crate) fn not_open_to_others(listen: SocketAddr, tokens: &Tokens) -> Result<(), Hinted> {
    if listen.ip().is_loopback() || !tokens.is_empty() {
        return Ok(());
    }
    let hint = "write a token to a file and pass it with --token-file, or listen on 127.0.0.1";
    Err(hinted(format!("{listen} can be reached from other machines and needs a token"), hint))
}

/// Opens the API's address.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        let hint = "another program may use the port; choose one with --listen, such as --listen 127.0.0.1:0";
        hinted(format!("the API cannot listen on {address}"), hint)
    })
}

/// Serves until `stop` says so. Requests under way are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    engine: Asker<Engine>,
    settings: Settings,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the API has no address")?;
    not_open_to_others(address, &settings.tokens)?;
    connections::serve(listener, router(engine, &settings, address), &settings.limits, stop).await;
    Ok(())
}
