//! The HTTP API over an engine of its own, in one thread and without a socket: what tests and fuzzers ask.
//!
//! Requests go through the same router as those of a socket, guards and limits included. The engine makes no step by
//! itself, so that what a request changes is all that changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use clap::Parser;
use serde_json::Value;
use tower_service::Service;

use crate::run::engine::Engine;
use crate::run::fleet::FleetFile;
use crate::run::{Config, Fleet};
use crate::server::ask::{self, Question};
use crate::server::limits::Limits;
use crate::server::{self, Settings};
use crate::token::{Role, Token, Tokens};

/// Bytes of one answer at the most.
const LARGEST_ANSWER: usize = 256 << 20;

/// A request. What HTTP itself does not allow in its parts is no request; see [`InProcess::ask`].
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// The limits as the command line has them where it says nothing.
#[derive(Parser)]
struct OnlyLimits {
    #[command(flatten)]
    limits: Limits,
}

/// See the module's documentation.
pub struct InProcess {
    engine: Engine,
    questions: Receiver<Question<Engine>>,
    open: Router,
    guarded: Router,
    runtime: tokio::runtime::Runtime,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

impl InProcess {
    /// Opens an engine with the bundled fleet. `data_dir` is where its store is, `policies` the folder with policies, and
    /// `token` what [`InProcess::ask_guarded`] wants to see.
    ///
    /// # Errors
    /// As `berth run` has them.
    pub fn open(data_dir: PathBuf, policies: PathBuf, token: &str) -> anyhow::Result<Self> {
        let address = ([127, 0, 0, 1], 7878).into();
        let limits = OnlyLimits::try_parse_from(["berth", "--rate-limit", "0"])?.limits;
        let open = Settings { listen: address, tokens: Tokens::default(), hosts: Vec::new(), limits };
        let mut guarded = open.clone();
        let token = Token::parse(token).context("the token is too short")?;
        guarded.tokens.add(&token, Role::Write);
        let config = Config {
            fleet: Fleet::Example,
            data_dir,
            policies: Some(policies),
            trust: None,
            api: open.clone(),
            speed: 0.0,
            until_settled: false,
            length_ms: None,
            seed: 1,
            records_size: 0,
            records_age: std::time::Duration::ZERO,
            fresh: false,
        };
        let fleet = FleetFile::read(&config.fleet)?;
        let engine = Engine::open(config, fleet, address)?;
        let (asker, questions) = ask::channel(open.limits.max_waiting.get());
        let open = server::router(asker.clone(), &open, address);
        let guarded = server::router(asker, &guarded, address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.context("the runtime of the API cannot be made")?;
        Ok(Self { engine, questions, open, guarded, runtime })
    }

    /// Asks the API as it is without a token; `None` if HTTP does not know such a request.
    pub fn ask(&mut self, ask: &Ask) -> Option<Answer> {
        let router = self.open.clone();
        self.send(router, ask)
    }

    /// Asks the API as it is with a token.
    pub fn ask_guarded(&mut self, ask: &Ask) -> Option<Answer> {
        let router = self.guarded.clone();
        self.send(router, ask)
    }

    fn send(&mut self, mut router: Router, ask: &Ask) -> Option<Answer> {
        let request = request(ask)?;
        let (engine, questions) = (&mut self.engine, &self.questions);
        let answered = async {
            let Ok(response) = router.call(request).await;
            let status = response.status().as_u16();
            let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
            let headers = response.headers().iter().map(header).collect();
            let body = to_bytes(response.into_body(), LARGEST_ANSWER).await.ok()?.to_vec();
            Some(Answer { status, headers, body })
        };
        // The owner of the state is this thread: questions are answered whenever the API waits.
        let owner = async {
            loop {
                while let Ok(question) = questions.try_recv() {
                    question(engine);
                }
                tokio::task::yield_now().await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                answer = answered => answer,
                () = owner => None,
            }
        })
    }

    /// Everything the controller holds by key, as Kubernetes would show it.
    pub fn objects(&self) -> BTreeMap<String, Value> {
        let controller = &self.engine.controller;
        let keys = controller.keys().into_iter();
        keys.filter_map(|key| controller.get(&key).map(|value| (format!("{}/{key}", key.kind), value))).collect()
    }
}

fn request(ask: &Ask) -> Option<Request<Body>> {
    let method = Method::from_bytes(ask.method.as_bytes()).ok()?;
    let uri: Uri = ask.target.parse().ok()?;
    uri.path_and_query()?;
    let mut request = Request::new(Body::from(ask.body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in &ask.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}
