//! The description against the handlers: the same routes, and answers of a running controller that are what it says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod browser;
mod sockets;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use ureq::http::{Request, Response};

use super::limits::Limits;
use super::{OPENAPI, Settings, ask, listen, page, routes, serve};
use crate::cli::ServerArgs;
use crate::client::Client;
use crate::run::engine::Engine;
use crate::run::{Config, Fleet};
use crate::token::{Role, Token, Tokens};
use crate::wire::{Items, Objects, Outcome, Source, Sources};

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let document = description();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    let routed = routes::ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_owned())).collect();
    assert_eq!(described, routed);
    let references = OPENAPI.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in references {
        assert!(document.pointer(name).is_some(), "{name} is not described");
    }
}

/// A controller with the bundled example, as fast as it can, and its API.
struct Running {
    base: String,
    asker: ask::Asker<Engine>,
    stop: Arc<AtomicBool>,
    stop_serving: watch::Sender<bool>,
    engine: Option<std::thread::JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(token: Option<&str>) -> Self {
        let mut tokens = Tokens::default();
        token.iter().for_each(|token| tokens.add(&Token::parse(token).unwrap(), Role::Write));
        Self::start_with(tokens, &[], false)
    }

    /// `limits` as on the command line. Policies take a while to load; without any the built-in algorithms decide.
    fn start_with(tokens: Tokens, limits: &[&str], with_policies: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = (!with_policies).then(|| folder.path().to_owned());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(listen("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = listener.local_addr().unwrap();
        let api = Settings {
            listen: address,
            tokens,
            hosts: vec!["berth.example".to_owned()],
            // Connections that are done with close soon, so that tests see their end.
            limits: Limits::parse(&[&["--head-timeout", "500ms"], limits].concat()),
        };
        let config = Config {
            fleet: Fleet::Example,
            data_dir: folder.path().join("data"),
            policies,
            trust: None,
            api: api.clone(),
            speed: 0.0,
            until_settled: false,
            length_ms: Some(600_000),
            seed: 1,
            records_size: 0,
            records_age: std::time::Duration::ZERO,
            fresh: false,
        };
        let (asker, questions) = ask::channel(api.limits.max_waiting.get());
        let stop = Arc::new(AtomicBool::new(false));
        let engine = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let fleet = crate::run::fleet::FleetFile::read(&config.fleet).unwrap();
                let mut engine = Engine::open(config, fleet, address).unwrap();
                engine.run(&questions, &stop).unwrap();
                // What was reached stays there to be asked about.
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(question) = questions.recv_timeout(std::time::Duration::from_millis(20)) {
                        question(&mut engine);
                    }
                }
            }
        });
        let (stop_serving, serving) = watch::channel(false);
        runtime.spawn(serve(listener, asker.clone(), api, serving));
        let base = format!("http://{address}");
        Self { base, asker, stop, stop_serving, engine: Some(engine), runtime, _folder: folder }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response: Response<ureq::Body> = if method == "GET" {
            agent.run(request.body(()).unwrap()).unwrap()
        } else {
            agent.run(request.body(body.to_owned()).unwrap()).unwrap()
        };
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.stop_serving.send(true);
        let ended = self.engine.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Checks an answer against what is described for its route and status.
fn is_described(method: &str, path: &str, (status, answer): &(u16, Value)) {
    let document = description();
    let path = path.split('?').next().unwrap();
    let operation = &document["paths"][path][method];
    let described = operation["responses"].get(status.to_string()).unwrap_or(&operation["responses"]["default"]);
    let shared = described["$ref"].as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
    let described = shared.unwrap_or(described);
    let content =
        described["content"].as_object().unwrap_or_else(|| panic!("{method} {path} {status} is not described"));
    let schema = &content.values().next().unwrap()["schema"];
    has_schema(schema, answer, &format!("{method} {path} {status}"));
}

fn has_schema(schema: &Value, answer: &Value, what: &str) {
    let mut root = schema.clone();
    root["components"] = description()["components"].clone();
    let validator = jsonschema::validator_for(&root).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{what}: {}\n{answer:#}", faults.join("\n"));
}

#[test]
fn answers_are_what_the_description_says() {
    let running = Running::start_with(Tokens::default(), &[], true);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 1, template: {spec: {containers: [{name: a, image: b}]}}}\n";
    let sources = |text: &str| json!({"sources": [{"name": "web.yaml", "text": text}]});
    let posts = [
        ("/api/v1/apply?dryRun=true", sources(deployment), 200),
        ("/api/v1/apply", sources(deployment), 200),
        ("/api/v1/apply", sources("kind: Deployment"), 422),
        ("/api/v1/apply", json!({"files": []}), 422),
        ("/api/v1/delete", json!({"objects": [{"kind": "deploy", "namespace": "shop", "name": "web"}]}), 200),
        ("/api/v1/delete", json!({"objects": [{"kind": "zebra", "name": "web"}]}), 404),
        ("/api/v1/delete", sources(deployment), 200),
    ];
    for (path, body, status) in posts {
        let answer = running.post(path, &body);
        assert_eq!(answer.0, status, "{path} {body}: {:#}", answer.1);
        is_described("post", path, &answer);
    }
    let workload = running.get("/api/v1/workloads").1["items"][0]["workload"].clone();
    let one =
        format!("?namespace={}&name={}", workload["namespace"].as_str().unwrap(), workload["name"].as_str().unwrap());
    let gets = [
        ("/api/v1/objects?kind=clusters", 200),
        ("/api/v1/objects?kind=placements", 200),
        ("/api/v1/objects", 400),
        ("/api/v1/objects?kind=zebras", 404),
        ("/api/v1/workloads", 200),
        (&format!("/api/v1/explain{one}"), 200),
        ("/api/v1/explain?namespace=default&name=nobody", 404),
        ("/api/v1/explain", 400),
        ("/api/v1/top", 200),
        ("/api/v1/policies", 200),
        ("/api/v1/events?limit=50", 200),
        ("/api/v1/events?limit=x", 400),
        (&format!("/api/v1/decisions{one}&limit=2"), 200),
        ("/api/v1/status", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
    ];
    for (path, status) in gets {
        let answer = running.get(path);
        assert_eq!(answer.0, status, "{path}: {:#}", answer.1);
        is_described("get", path, &answer);
    }
    let asked: BTreeSet<&str> =
        gets.iter().map(|(path, _)| *path).chain(posts_paths()).map(|path| path.split('?').next().unwrap()).collect();
    let all: BTreeSet<&str> = routes::ROUTES.iter().map(|route| route.path).collect();
    assert_eq!(asked, all, "every route is asked");
    assert!(!running.get("/api/v1/explain".to_owned().as_str()).1["message"].as_str().unwrap().is_empty());
}

fn posts_paths() -> [&'static str; 2] {
    ["/api/v1/apply", "/api/v1/delete"]
}

#[test]
fn what_is_not_served_is_refused_in_the_same_form() {
    let running = Running::start(None);
    let json = ("content-type", "application/json");
    let large = format!("{{\"sources\": [{{\"name\": \"a\", \"text\": \"{}\"}}]}}", "x".repeat(16 << 20));
    let cases = [
        ("GET", "/nowhere", vec![], "", 404, "NotFound"),
        ("POST", "/api/v1/top", vec![json], "{}", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/apply", vec![], "{\"sources\": []}", 415, "NotJson"),
        ("POST", "/api/v1/apply", vec![json], "{", 400, "BadBody"),
        ("POST", "/api/v1/apply", vec![json], large.as_str(), 413, "TooLarge"),
        ("POST", "/nowhere", vec![json], large.as_str(), 413, "TooLarge"),
        ("GET", "/api/v1/top", vec![("host", "evil.example:7878")], "", 403, "ForeignHost"),
        ("GET", "/metrics", vec![("sec-fetch-site", "cross-site")], "", 403, "ForeignSite"),
        ("GET", "/api/v1/top?continue=x", vec![], "", 400, "BadQuery"),
        ("GET", "/api/v1/workloads?continue=x", vec![], "", 400, "BadQuery"),
    ];
    let schema = &json!({"$ref": "#/components/schemas/Error"});
    for (method, path, headers, body, status, code) in cases {
        let (found, answer) = running.send(method, path, &headers, body);
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{method} {path} {answer}");
        has_schema(schema, &answer, path);
    }
}

#[test]
fn with_a_token_nothing_but_the_probes_is_open() {
    let running = Running::start(Some("0123456789abcdef"));
    assert_eq!(running.get("/api/v1/top").0, 401);
    assert_eq!(running.get("/healthz").0, 200);
    let right = [("authorization", "Bearer 0123456789abcdef"), ("host", "berth.example:7878")];
    assert_eq!(running.send("GET", "/api/v1/top", &right, "").0, 200);
    assert_eq!(running.send("GET", "/api/v1/top", &[("authorization", "Bearer 0123456789abcdeg")], "").0, 401);
}

#[test]
fn the_client_waits_when_it_is_told_to_and_reads_all_pages() {
    let running = Running::limited(&["--rate-limit", "2", "--rate-burst", "1"]);
    let client = Client::new(&ServerArgs { server: running.base.clone(), token_file: None }).unwrap();
    let count = page::MOST_ROWS + 100;
    let manifest = |number| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: map-{number}}}}}\n");
    let text = (0..count).map(manifest).collect::<Vec<_>>().join("---\n");
    let sources = Sources { sources: vec![Source { name: "maps.yaml".to_owned(), text }] };
    // Each of these comes too soon after the one before.
    let applied: Items<Outcome> = client.post("/api/v1/apply", &[], &sources).unwrap();
    let objects: Objects = client.list("/api/v1/objects", &[("kind", "cm")]).unwrap();
    assert_eq!((applied.items.len(), objects.items.len()), (count, count));
    let names: BTreeSet<&str> = objects.items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), count);
    let first: Objects = client.get("/api/v1/objects", &[("kind", "cm"), ("limit", "1000000")]).unwrap();
    assert_eq!(first.items.len(), page::MOST_ROWS);
    assert!(first.next.is_some());
}
