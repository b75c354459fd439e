//! Every route of the API, as one list: the router is made from it, and the OpenAPI file is held against it.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json};
use berth_api::Loaded;
use berth_control::view::WorkloadRow;
use serde::Deserialize;

use super::OPENAPI;
use super::ask::Asker;
use super::counts::Counts;
use super::error::Refusal;
use super::page::{MOST_ROWS, Page};
use crate::run::engine::Engine;
use crate::run::objects::load_all;
use crate::token::Role;
use crate::wire::{Events, Explained, Items, ObjectRef, Objects, Outcome, PolicyRow, References, Sources, Status, Top};

/// One path; `methods` are those that `handler` takes, for the test of the description.
pub(super) struct Route {
    pub(super) path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test of the description"))]
    pub(super) method: &'static str,
    pub(super) handler: fn() -> MethodRouter<Asker<Engine>>,
}

pub(super) const ROUTES: &[Route] = &[
    Route { path: "/api/v1/objects", method: "get", handler: || get(objects) },
    Route { path: "/api/v1/apply", method: "post", handler: || post(apply) },
    Route { path: "/api/v1/delete", method: "post", handler: || post(delete) },
    Route { path: "/api/v1/workloads", method: "get", handler: || get(workloads) },
    Route { path: "/api/v1/explain", method: "get", handler: || get(explain) },
    Route { path: "/api/v1/top", method: "get", handler: || get(top) },
    Route { path: "/api/v1/policies", method: "get", handler: || get(policies) },
    Route { path: "/api/v1/events", method: "get", handler: || get(events) },
    Route { path: "/api/v1/decisions", method: "get", handler: || get(decisions) },
    Route { path: "/api/v1/status", method: "get", handler: || get(status) },
    Route { path: "/healthz", method: "get", handler: || get(healthz) },
    Route { path: "/readyz", method: "get", handler: || get(readyz) },
    Route { path: "/metrics", method: "get", handler: || get(metrics) },
    Route { path: "/openapi.json", method: "get", handler: || get(openapi) },
];

type Answer<T> = Result<Json<T>, Refusal>;
type Owner = State<Asker<Engine>>;
type Asked<T> = Result<Query<T>, QueryRejection>;
type Sent<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectQuery {
    kind: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    limit: Option<usize>,
    #[serde(default, rename = "continue")]
    after: String,
}

async fn objects(State(engine): Owner, Extension(role): Extension<Role>, query: Asked<ObjectQuery>) -> Answer<Objects> {
    let Query(ObjectQuery { kind, namespace, name, limit, after }) = query?;
    let page = Page::new(limit, after);
    engine.ask(move |engine| engine.objects(&kind, &namespace, &name, &page, role)).await?.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ApplyQuery {
    #[serde(default)]
    dry_run: bool,
}

/// Reads manifests. Away from the owner of the state, whose steps must not wait for it.
async fn read(sources: Sources) -> Result<Loaded, Refusal> {
    let read = tokio::task::spawn_blocking(move || load_all(&sources));
    read.await.map_err(|error| Refusal::internal(&error))?
}

async fn apply(State(engine): Owner, query: Asked<ApplyQuery>, body: Sent<Sources>) -> Answer<Items<Outcome>> {
    let (Query(query), Json(sources)) = (query?, body?);
    let loaded = read(sources).await?;
    engine.ask(move |engine| engine.apply(&loaded, query.dry_run)).await?.map(Json)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeleteBody {
    References(References),
    Sources(Sources),
}

async fn delete(State(engine): Owner, body: Sent<DeleteBody>) -> Answer<Items<Outcome>> {
    let Json(body) = body?;
    let deleted = match body {
        DeleteBody::References(references) => engine.ask(move |engine| engine.delete(&references.objects)).await?,
        DeleteBody::Sources(sources) => {
            let loaded = read(sources).await?;
            engine.ask(move |engine| engine.delete_all(&loaded)).await?
        }
    };
    deleted.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadQuery {
    #[serde(default)]
    namespace: String,
    limit: Option<usize>,
    #[serde(default, rename = "continue")]
    after: String,
}

async fn workloads(State(engine): Owner, query: Asked<WorkloadQuery>) -> Answer<Items<WorkloadRow>> {
    let Query(WorkloadQuery { namespace, limit, after }) = query?;
    let page = Page::new(limit, after);
    engine.ask(move |engine| engine.workloads(&namespace, &page)).await?.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneWorkload {
    /// Empty: the name must be enough.
    #[serde(default)]
    kind: String,
    namespace: String,
    name: String,
}

impl From<OneWorkload> for ObjectRef {
    fn from(OneWorkload { kind, namespace, name }: OneWorkload) -> Self {
        Self { kind, namespace, name }
    }
}

async fn explain(State(engine): Owner, query: Asked<OneWorkload>) -> Answer<Explained> {
    let Query(query) = query?;
    engine.ask(move |engine| engine.explain(&query.into())).await?.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopQuery {
    limit: Option<usize>,
    #[serde(default, rename = "continue")]
    after: String,
}

async fn top(State(engine): Owner, query: Asked<TopQuery>) -> Answer<Top> {
    let Query(TopQuery { limit, after }) = query?;
    let page = Page::new(limit, after);
    engine.ask(move |engine| engine.top(&page)).await?.map(Json)
}

async fn policies(State(engine): Owner) -> Answer<Items<PolicyRow>> {
    let items = engine.ask(|engine| engine.policies()).await?;
    Ok(Json(Items::all(items)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// Only events with a larger number.
    #[serde(default)]
    after: u64,
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

async fn events(State(engine): Owner, query: Asked<EventQuery>) -> Answer<Events> {
    let Query(query) = query?;
    Ok(Json(engine.ask(move |engine| engine.events(query.after, query.limit.min(MOST_ROWS))).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionQuery {
    #[serde(default)]
    kind: String,
    namespace: String,
    name: String,
    #[serde(default = "hundred")]
    limit: usize,
}

/// The records as they were kept: everything that is needed to take a decision again.
async fn decisions(State(engine): Owner, query: Asked<DecisionQuery>) -> Answer<Items<serde_json::Value>> {
    let Query(DecisionQuery { kind, namespace, name, limit }) = query?;
    let workload = ObjectRef { kind, namespace, name };
    let items = engine.ask(move |engine| engine.decisions(&workload, limit.min(100))).await??;
    Ok(Json(Items::all(items)))
}

async fn status(State(engine): Owner) -> Answer<Status> {
    Ok(Json(engine.ask(|engine| engine.status()).await?))
}

/// Well as long as the owner of the state answers.
async fn healthz(State(engine): Owner) -> Result<&'static str, Refusal> {
    engine.ask(|_| ()).await?;
    Ok("ok\n")
}

/// Ready once the state was read and the first step was made.
async fn readyz(State(engine): Owner) -> Result<&'static str, Refusal> {
    if engine.ask(|engine| engine.is_ready()).await? {
        return Ok("ready\n");
    }
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "NotReady", "the first step is not made yet");
    Err(Refusal { retry_after: Some(1), ..refusal })
}

async fn metrics(State(engine): Owner, Extension(counts): Extension<Arc<Counts>>) -> Result<Response, Refusal> {
    let text = engine.ask(|engine| engine.metrics()).await? + &counts.metrics();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
