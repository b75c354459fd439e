//! The HTTP API as a client sees it.

use std::time::Duration;

use serde_json::{Value, json};

use super::fleet::{Name, Version, manifest};

#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done(Value),
    /// The program said that nothing was done.
    Refused(u16, String),
    /// Nobody can say whether it was done.
    Lost(String),
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { agent: config.new_agent(), base: base.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.answer(self.agent.post(format!("{}{path}", self.base)).send_json(body))
    }

    /// Applies all of these or none.
    pub(crate) fn apply<'a>(&self, objects: impl IntoIterator<Item = (&'a Name, &'a Version)>) -> Answer {
        let items: Vec<Value> = objects.into_iter().map(|(name, version)| manifest(name, version)).collect();
        let text = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
        self.post("/api/v1/apply", &json!({ "sources": [{ "name": "client.json", "text": text }] }))
    }

    /// Deletes all of these or none.
    pub(crate) fn delete<'a>(&self, names: impl IntoIterator<Item = &'a Name>) -> Answer {
        let object =
            |name: &Name| json!({ "kind": name.kind.as_str(), "namespace": name.namespace, "name": name.name });
        let objects: Vec<Value> = names.into_iter().map(object).collect();
        self.post("/api/v1/delete", &json!({ "objects": objects }))
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => return Answer::Lost(error.to_string()),
        };
        let status = response.status();
        let text = match response.body_mut().with_config().limit(256 << 20).read_to_string() {
            Ok(text) => text,
            // A success is one as soon as its status is here.
            Err(_) if status.is_success() => return Answer::Done(Value::Null),
            Err(error) => return Answer::Lost(error.to_string()),
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone()));
        let code = value.get("code").and_then(Value::as_str).unwrap_or_default();
        match status.as_u16() {
            200..=299 => Answer::Done(value),
            // Too many wait, or too many came: nothing was begun.
            429 => Answer::Refused(429, text),
            503 if code == "Busy" => Answer::Refused(503, text),
            400..=499 if status.as_u16() != 408 => Answer::Refused(status.as_u16(), text),
            _ => Answer::Lost(format!("{status}: {text}")),
        }
    }
}
