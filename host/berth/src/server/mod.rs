//! The HTTP API: routes, their guards, and how it is served. Handlers ask the thread that owns the state and never touch
//! it themselves.

pub(crate) mod ask;
pub(crate) mod error;
mod guard;
pub(crate) mod metrics;
mod routes;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fail::hinted;
use crate::run::engine::Engine;
use ask::Asker;
use error::Refusal;
use guard::Access;

/// The API's own description, maintained by hand and held against the handlers by a test.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

fn router(engine: Asker<Engine>, token: Option<&str>) -> Router {
    let routes = routes::ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    routes
        .fallback(async || Refusal::not_found("there is nothing at this path").hint("/openapi.json describes the API"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path does not take this method")
        })
        .with_state(engine)
        .layer(DefaultBodyLimit::max(guard::LARGEST_BODY))
        .layer(middleware::from_fn(guard::timeout))
        .layer(middleware::from_fn_with_state(Access::new(token), guard::access))
        .layer(middleware::map_response(harden))
}

/// Browsers must not guess types, frame the API, or keep answers.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
    token: Option<String>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let service = router(engine, token.as_deref());
    axum::serve(listener, service).with_graceful_shutdown(stopped).await.context("the API stopped serving")
}
