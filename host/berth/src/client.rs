//! The client of a running controller's API.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, RequestBuilder};

use crate::cli::ServerArgs;
use crate::fail::hinted;
use crate::token::{self, Token};
use crate::wire::{ApiError, Pages};

/// Answers are read up to this size, so that something else at that address cannot fill the memory.
const LARGEST_ANSWER: u64 = 256 << 20;
/// How often a request is sent that the controller has no time for, and how long it is waited for at most in between.
const TRIES: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<Token>,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let base = args.server.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            let hint = "use http://HOST:PORT; over other networks put a tunnel or a proxy with TLS between";
            return Err(hinted(format!("{:?} is no address of a controller", args.server), hint).into());
        }
        let token = match &args.token_file {
            Some(file) => token::read_file(file)?.into_iter().next(),
            None => token::from_env("BERTH_TOKEN")?,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Ok(Self { agent: config.new_agent(), base, token })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let request = || self.ask(self.agent.get(self.url(path)), query).call();
        self.answer(patiently(request))
    }

    /// A list with all its pages.
    pub(crate) fn list<T: DeserializeOwned + Pages>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let mut whole: T = self.get(path, query)?;
        while let Some(after) = whole.next().take() {
            let query: Vec<(&str, &str)> = query.iter().copied().chain([("continue", after.as_str())]).collect();
            let mut page: T = self.get(path, &query)?;
            *whole.next() = page.next().take();
            whole.append(page);
        }
        Ok(whole)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = || self.ask(self.agent.post(self.url(path)), query).send_json(body);
        self.answer(patiently(request))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn ask<B>(&self, request: RequestBuilder<B>, query: &[(&str, &str)]) -> RequestBuilder<B> {
        let request = request.query_pairs(query.iter().copied());
        match &self.token {
            Some(token) => request.header("authorization", token.bearer()),
            None => request,
        }
    }

    fn answer<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<T> {
        let mut response = answer.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let text = response
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_string()
            .with_context(|| format!("the answer of {} cannot be read", self.base))?;
        if status.is_success() {
            return serde_json::from_str(&text).with_context(|| {
                hinted(format!("{} does not answer as a controller does", self.base), "check --server and its version")
            });
        }
        Err(match serde_json::from_str::<ApiError>(&text) {
            Ok(error) => refused(&error),
            Err(_) => hinted(format!("{} answers {status}", self.base), "check that --server is a controller").into(),
        })
    }

    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let nobody = matches!(&error, ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused)
            || matches!(error, ureq::Error::ConnectionFailed);
        let hint = "start one with `berth run`, or say where it is with --server or BERTH_SERVER";
        if nobody {
            hinted(format!("no controller answers at {}", self.base), hint).into()
        } else {
            anyhow!(error).context(hinted(format!("the controller at {} cannot be reached", self.base), hint))
        }
    }
}

fn refused(error: &ApiError) -> anyhow::Error {
    let details: String = error.details.iter().map(|detail| format!("\n  {detail}")).collect();
    hinted(format!("{}{details}", error.message), error.hint.clone()).into()
}

/// Sends a request again while the controller says when: nothing was done with it then.
fn patiently(mut send: impl FnMut() -> Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ureq::Error> {
    for _ in 1..TRIES {
        let response = send()?;
        let Some(wait) = retry_after(&response).filter(|wait| *wait <= LONGEST_WAIT) else { return Ok(response) };
        std::thread::sleep(wait);
    }
    send()
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
