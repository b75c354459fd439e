//! The client of a running controller's API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::cli::ServerArgs;
use crate::fail::hinted;
use crate::wire::ApiError;

/// Answers are read up to this size, so that something else at that address cannot fill the memory.
const LARGEST_ANSWER: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let base = args.server.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            let hint = "use http://HOST:PORT; over other networks put a tunnel or a proxy with TLS between";
            return Err(hinted(format!("{:?} is no address of a controller", args.server), hint).into());
        }
        let token = match &args.token_file {
            Some(file) => Some(read_token(file)?),
            None => std::env::var("BERTH_TOKEN").ok().filter(|token| !token.is_empty()),
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
        let mut request = self.agent.get(format!("{}{path}", self.base)).query_pairs(query.iter().copied());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.call())
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).query_pairs(query.iter().copied());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.send_json(body))
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

/// A token from a file, without the line end. It is never part of a message.
pub(crate) fn read_token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| hinted(format!("the token file {} cannot be read", file.display()), ""))?;
    let token = text.trim();
    let usable = token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !usable {
        let hint = "write one line of at least 16 letters and digits into it, such as `openssl rand -hex 32` gives";
        return Err(hinted(format!("{} holds no usable token", file.display()), hint).into());
    }
    Ok(token.to_owned())
}
