//! HTTP requests, answered by the whole API over a real engine, in one thread and without a socket.
//!
//! A request is written as text: a line with method and target, lines of headers, an empty line, and the body.
//!
//! - Every answer has its safety headers, and every answer that is no success is an error of the one form there is.
//! - Nothing makes the API fail by itself: no status of 500.
//! - A request that is refused, one that only reads, and one for a dry run change nothing.
//! - With a token, nothing but the probes is open to those who do not have it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use berth::{Answer, Ask, InProcess};
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery-staple";
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// Requests after which everything starts anew, so that what they leave behind does not add up.
const MANY: usize = 2_000;

struct Served {
    api: InProcess,
    /// What it holds when nothing was asked of it.
    before: BTreeMap<String, Value>,
    requests: usize,
    _folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        // Nothing has to survive, so memory will do where the system has a file system in it.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        let api = InProcess::open(folder.path().join("data"), policies, TOKEN).unwrap();
        let before = api.objects();
        Self { api, before, requests: 0, _folder: folder }
    }

    fn check(&mut self, ask: &Ask) {
        let Some(answer) = self.api.ask(ask) else { return };
        is_well_formed(ask, &answer);
        let accepted = answer.status == 200 && ask.method == "POST";
        let now = self.api.objects();
        if accepted && now != self.before {
            self.is_idempotent(ask);
            self.restore();
        } else {
            assert_eq!(now, self.before, "{} {} changed something", ask.method, ask.target);
        }
        self.is_guarded(ask);
    }

    /// Asking again is accepted again, and changes nothing more.
    fn is_idempotent(&mut self, ask: &Ask) {
        let before = self.api.objects();
        let again = self.api.ask(ask).unwrap();
        assert_eq!(again.status, 200, "refused when asked again");
        assert_eq!(self.api.objects(), before, "asked again, it changes more");
        for outcome in body(&again)["items"].as_array().into_iter().flatten() {
            let outcome = outcome["outcome"].as_str().unwrap_or_default();
            assert!(["unchanged", "not found"].contains(&outcome), "asked again: {outcome}");
        }
    }

    fn is_guarded(&mut self, ask: &Ask) {
        let Some(answer) = self.api.ask_guarded(ask) else { return };
        is_well_formed(ask, &answer);
        let path = ask.target.split('?').next().unwrap_or_default();
        let knows =
            ask.headers.iter().any(|(_, value)| value.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()));
        assert!(
            answer.status >= 400 || knows || PROBES.iter().any(|probe| path.ends_with(probe)),
            "{} {} is open without the token: {}",
            ask.method,
            ask.target,
            answer.status
        );
        assert_eq!(self.api.objects(), self.before, "without a token, {} {} changed something", ask.method, ask.target);
    }

    /// Takes away what came, and brings back what went.
    fn restore(&mut self) {
        let now = self.api.objects();
        let more = now.iter().filter(|(key, _)| !self.before.contains_key(*key));
        let source = |value: &Value| json!({"name": "restore.yaml", "text": value.to_string()});
        let more: Vec<Value> = more.map(|(_, value)| source(value)).collect();
        self.post("/api/v1/delete", &json!({ "sources": more }));
        let texts: Vec<Value> = self.before.values().map(source).collect();
        self.post("/api/v1/apply", &json!({ "sources": texts }));
        let strip = |objects: BTreeMap<String, Value>| -> BTreeMap<String, Value> {
            objects.into_iter().map(|(key, value)| (key, without_counters(value))).collect()
        };
        assert_eq!(strip(self.api.objects()), strip(self.before.clone()), "what was changed cannot be changed back");
        self.before = self.api.objects();
    }

    fn post(&mut self, target: &str, sent: &Value) {
        let headers = [("host", "localhost"), ("content-type", "application/json")];
        let ask = Ask {
            method: "POST".to_owned(),
            target: target.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            body: sent.to_string().into_bytes(),
        };
        let answer = self.api.ask(&ask).unwrap();
        assert_eq!(answer.status, 200, "{target} {sent:#}: {:#}", body(&answer));
    }
}

/// An object without what counts its changes.
fn without_counters(mut value: Value) -> Value {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("generation");
        metadata.remove("creationTimestamp");
    }
    value
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn is_well_formed(ask: &Ask, answer: &Answer) {
    let what = format!("{} {:.200}: {}", ask.method, ask.target, answer.status);
    let header = |wanted: &str| answer.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| &value[..]);
    assert_eq!(header("x-content-type-options"), Some(&b"nosniff"[..]), "{what}");
    assert_eq!(header("x-frame-options"), Some(&b"DENY"[..]), "{what}");
    assert_eq!(header("cache-control"), Some(&b"no-store"[..]), "{what}");
    assert!(header("access-control-allow-origin").is_none(), "{what}");
    assert!(answer.status != 500, "{what} {}", String::from_utf8_lossy(&answer.body));
    if answer.status == 200 || ask.method == "HEAD" {
        return;
    }
    let error = body(answer);
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    assert!(!text("code").is_empty() && !text("message").is_empty(), "{what}: {error}");
    let details = error["details"].as_array().into_iter().flatten();
    for line in details.filter_map(Value::as_str).chain([text("message").as_str(), text("hint").as_str()]) {
        crate::manifests::is_line(line);
    }
}

/// The request that a text writes.
fn parse(data: &[u8]) -> Option<Ask> {
    let mut ask = Ask::default();
    let mut rest = data;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at(end);
        rest = &after[1..];
        Some(line)
    };
    let first = std::str::from_utf8(line()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    (ask.method, ask.target) = (method.to_owned(), target.to_owned());
    while let Some(header) = line().filter(|header| !header.is_empty()) {
        let at = header.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&header[..at]).ok()?;
        ask.headers.push((name.to_owned(), header[at + 1..].trim_ascii().to_vec()));
    }
    ask.body = rest.to_vec();
    Some(ask)
}

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

/// Sends the request that the bytes write, if they write one.
pub fn check(data: &[u8]) {
    let Some(ask) = parse(data) else { return };
    SERVED.with_borrow_mut(|slot| {
        let mut served = slot.take().unwrap_or_else(Served::new);
        served.check(&ask);
        served.requests += 1;
        *slot = (served.requests < MANY).then_some(served);
    });
}
