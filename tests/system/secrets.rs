//! Nothing secret is printed, recorded or shown where it does not belong: the program runs with everything logged, is given
//! secrets in every place that takes some, and what comes out is searched for them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use berth_control::ports::Store;
use berth_control::store::EmbeddedStore;
use serde_json::json;
use ureq::http::Request;

const PATIENCE: Duration = Duration::from_secs(120);

const TOKEN: &str = "canary-token-4bd1f0a7";
const OLD_TOKEN: &str = "canary-token-of-last-year";
const READ_TOKEN: &str = "canary-read-token-99c2";
const WRONG_TOKEN: &str = "canary-wrong-token-0d3e";
const DATA: &str = "Y2FuYXJ5LWRhdGE=";
const STRING_DATA: &str = "canary-string-data";
const ENV: &str = "canary-env-value";
const ARGUMENT: &str = "canary-argument";
const ANNOTATION: &str = "canary-annotation";
/// In manifests that are refused: the client is told, but nothing is kept or logged.
const REFUSED: &str = "canary-refused";

const KEPT: [&str; 6] = [DATA, "canary-data", STRING_DATA, ENV, ARGUMENT, ANNOTATION];
const TOKENS: [&str; 4] = [TOKEN, OLD_TOKEN, READ_TOKEN, WRONG_TOKEN];

const MANIFESTS: &str = "
apiVersion: v1
kind: Secret
metadata: {name: secret, annotations: {note: canary-annotation}}
data: {password: Y2FuYXJ5LWRhdGE=}
stringData: {password: canary-string-data}
---
apiVersion: policy.karmada.io/v1alpha1
kind: PropagationPolicy
metadata: {name: all}
spec:
  resourceSelectors: [{apiVersion: apps/v1, kind: Deployment, name: app}, {apiVersion: v1, kind: Secret}]
  placement: {replicaScheduling: {replicaSchedulingType: Divided}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, annotations: {note: canary-annotation}}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}, annotations: {note: canary-annotation}}
    spec:
      containers:
        - name: app
          image: nginx
          args: [--password=canary-argument]
          env: [{name: PASSWORD, value: canary-env-value}]
          resources: {requests: {cpu: 500m}}
";

struct Scene {
    folder: tempfile::TempDir,
    child: Child,
    server: String,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.current_dir(folder).env("RUST_LOG", "trace").env_remove("BERTH_TOKEN").stdin(Stdio::null());
    command
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let fleet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/system/scripts/running/fleet.yaml");
        fs::copy(fleet, path.join("fleet.yaml")).unwrap();
        fs::write(path.join("tokens"), format!("# now\n{TOKEN}\n{OLD_TOKEN}\n")).unwrap();
        fs::set_permissions(path.join("tokens"), Permissions::from_mode(0o600)).unwrap();
        let log = File::create(path.join("run.log")).unwrap();
        let child = command(path)
            .args(["run", "--fleet", "fleet.yaml", "--data-dir", "data", "--speed", "60"])
            .args(["--listen", "127.0.0.1:0", "--token-file", "tokens"])
            .env("BERTH_READ_TOKEN", READ_TOKEN)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut scene = Self { folder, child, server: String::new() };
        scene.server = scene.eventually("an address", |scene| {
            let log = scene.log();
            let address = log.split("http://").nth(1)?;
            Some(format!("http://{}", address.split_once(' ')?.0))
        });
        scene
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("run.log")).unwrap()
    }

    fn eventually<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The program as a client.
    fn berth(&self, token: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = command(self.folder.path());
        let Output { status, stdout, stderr } =
            command.args(arguments).env("BERTH_SERVER", &self.server).env("BERTH_TOKEN", token).output().unwrap();
        let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
        for secret in TOKENS {
            assert!(!printed.contains(secret), "{arguments:?} printed {secret}: {printed}");
        }
        (status.success(), printed)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(body.to_owned()).unwrap();
        let mut response = agent.run(request).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// All that can be asked for, but for the objects themselves.
    fn search_answers(&self) {
        for path in [
            "/api/v1/objects?kind=placements",
            "/api/v1/objects?kind=distributionpolicies",
            "/api/v1/workloads",
            "/api/v1/explain?namespace=default&name=app",
            "/api/v1/explain?namespace=default&name=secret",
            "/api/v1/decisions?namespace=default&name=app",
            "/api/v1/decisions?namespace=default&name=secret",
            "/api/v1/events?limit=1000",
            "/api/v1/top",
            "/api/v1/policies",
            "/api/v1/status",
            "/metrics",
            "/openapi.json",
        ] {
            let (status, answer) = self.ask("GET", path, TOKEN, "");
            assert_eq!(status, 200, "{path}: {answer}");
            has_none(path, &answer);
        }
    }
}

fn has_none(what: &str, text: &str) {
    for secret in KEPT.iter().chain(&TOKENS).chain(&[REFUSED]) {
        if let Some(at) = text.find(secret) {
            let around = text.get(at.saturating_sub(200)..text.len().min(at + 100)).unwrap_or_default();
            panic!("{what} shows {secret}: {around}");
        }
    }
}

#[test]
fn nothing_secret_is_printed_recorded_or_shown() {
    let scene = Scene::start();
    scene.write("app.yaml", MANIFESTS);
    let (done, printed) = scene.berth(TOKEN, &["apply", "-f", "app.yaml"]);
    assert!(done, "{printed}");
    has_none("apply", &printed);
    scene.eventually("placement", |scene| {
        let (_, rows) = scene.berth(OLD_TOKEN, &["get", "workloads", "app", "-o", "json"]);
        rows.contains("\"placed\": 3").then_some(())
    });
    // Who may read sees the workload, and neither Secrets nor a way to change anything.
    let (done, shown) = scene.berth(READ_TOKEN, &["get", "deployment", "app", "-o", "yaml"]);
    assert!(done && shown.contains(ENV), "{shown}");
    for arguments in [&["get", "secrets"][..], &["get", "secret", "secret", "-o", "yaml"], &["apply", "-f", "app.yaml"]]
    {
        let (done, printed) = scene.berth(READ_TOKEN, arguments);
        assert!(!done && printed.contains("this token"), "{printed}");
        has_none("a refusal", &printed);
    }
    assert!(scene.berth(TOKEN, &["get", "secret", "secret", "-o", "yaml"]).1.contains(DATA));
    assert!(!scene.berth(WRONG_TOKEN, &["get", "workloads"]).0);
    // What is refused is not logged either, in whatever form it is wrong.
    for broken in [
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ndata: {{a: '{REFUSED}"),
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {REFUSED}_}}\nspec: {{replicas: {REFUSED}}}\n"
        ),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ndata: {{a: b}}\ndata: {{a: {REFUSED}}}\n"),
    ] {
        scene.write("broken.yaml", &broken);
        assert!(!scene.berth(TOKEN, &["apply", "-f", "broken.yaml"]).0, "{broken}");
    }
    let sources = json!({"sources": [{"name": REFUSED, "text": REFUSED}]}).to_string();
    for (path, body, status) in [
        ("/api/v1/apply", &sources[..sources.len() - 1], 400),
        ("/api/v1/apply?token=canary-refused", sources.as_str(), 400),
        ("/api/v1/apply", "[\"canary-refused\"]", 422),
        ("/api/v1/delete", "{\"objects\": [{\"kind\": \"canary-refused\", \"name\": \"canary-refused\"}]}", 404),
    ] {
        assert_eq!(scene.ask("POST", path, TOKEN, body).0, status, "{path} {body}");
    }
    scene.search_answers();
    let (done, printed) = scene.berth(TOKEN, &["explain", "app"]);
    assert!(done);
    has_none("explain", &printed);
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", scene.child.id())).unwrap();
    has_none("the list of processes", &arguments);
    assert!(scene.berth(TOKEN, &["delete", "-f", "app.yaml"]).0);
    has_only_its_owner(&scene.folder.path().join("data"));
    finish(scene);
}

fn has_only_its_owner(data: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data), 0o700);
    for file in ["berth.redb", "fleet.yaml"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

/// Stops the program, and searches all that it printed, and the history.
fn finish(mut scene: Scene) {
    let stopped = Command::new("kill").args(["-TERM", &scene.child.id().to_string()]).status().unwrap();
    assert!(stopped.success() && scene.child.wait().unwrap().success());
    let log = scene.log();
    assert!(log.contains("DEBUG") && log.contains("/api/v1/apply"), "everything is logged: {log}");
    has_none("the log", &log);
    let store = EmbeddedStore::open(scene.folder.path().join("data")).unwrap();
    let history = store.history(None, usize::MAX).unwrap();
    assert!(!history.is_empty());
    for entry in history {
        has_none("the history", &String::from_utf8_lossy(&entry.value));
    }
}
