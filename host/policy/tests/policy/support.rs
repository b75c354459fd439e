//! A policy directory to play with, and questions to ask.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use berth_core::native::cases;
use berth_core::policy::{Answer, Candidates, Decision, Policies, Request, Tables};
use berth_core::workload::Division;
use berth_policy::{Directory, Failure, PolicyHost, PolicyStatus, Runtime, Scan, Trust, WallClock};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The process's engine: fuel alone limits, so that no test depends on how busy the machine is.
pub(crate) fn runtime() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(WallClock::Off).unwrap()).clone()
}

pub(crate) fn builtin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name)
}

/// A policy that does what its configuration or the workload's label `misbehave` says; see `plugins/testing/misbehave`.
pub(crate) fn misbehave() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/misbehave.wasm")
}

/// The same component with a custom section more: another digest, the same behaviour.
pub(crate) fn variant(file: &Path, mark: u8) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    bytes.extend([0, 3, 1, b'x', mark]);
    bytes
}

/// A directory, what was loaded from it, and who decides by it.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) directory: Directory,
    pub(crate) host: PolicyHost,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with(runtime())
    }

    pub(crate) fn with(runtime: Runtime) -> Self {
        Self::of(|folder| Directory::new(folder, runtime))
    }

    /// A directory of which only what is trusted is loaded.
    pub(crate) fn trusting(trust: Trust) -> Self {
        Self::of(|folder| Directory::new(folder, runtime()).with_trust(Some(trust)))
    }

    fn of(directory: impl FnOnce(&Path) -> Directory) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = directory(folder.path());
        let host = PolicyHost::new(&directory);
        Self { folder, directory, host }
    }

    /// A directory with `misbehave.wasm` under this configuration.
    pub(crate) fn misbehaving(config: &str) -> Self {
        let mut home = Self::new();
        home.copy(&misbehave(), "misbehave.wasm");
        home.write("policies.toml", config);
        home.scan();
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn copy(&self, from: &Path, name: &str) {
        fs::copy(from, self.path(name)).unwrap();
    }

    /// Scans, and begins a cycle with what came of it.
    pub(crate) fn scan(&mut self) -> Scan {
        let scan = self.directory.scan();
        self.host.begin();
        scan
    }

    /// Status rows of a name.
    pub(crate) fn rows(&self, name: &str) -> Vec<PolicyStatus> {
        self.directory.set().status().into_iter().filter(|row| row.name == name).collect()
    }

    /// The only status row of a name.
    pub(crate) fn row(&self, name: &str) -> PolicyStatus {
        let rows = self.rows(name);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().unwrap()
    }

    pub(crate) fn failures(&self, name: &str, failure: Failure) -> u64 {
        self.row(name).failures.get(&failure).copied().unwrap_or(0)
    }

    /// Why files were refused.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let set = self.directory.set();
        set.refused.iter().map(|refusal| format!("{}: {}", refusal.name, refusal.reason)).collect()
    }

    /// Asks `misbehave`, with a label that tells it how, at a time.
    pub(crate) fn ask(&mut self, how: &str, now_ms: u64) -> Answer<Decision> {
        let request = request(how, now_ms);
        self.host.place(Some(&"misbehave".into()), &tables(&["a", "b"]), &request, &room())
    }

    /// Asks whoever is bound.
    pub(crate) fn ask_bound(&mut self) -> Answer<Decision> {
        self.host.place(None, &tables(&["a", "b"]), &request("", 1), &room())
    }
}

pub(crate) fn request(how: &str, now_ms: u64) -> Request {
    let labels = if how.is_empty() { vec![] } else { vec![("misbehave".into(), how.into())] };
    Request { labels, now_ms, ..cases::request(Division::Free, 3) }
}

/// Two candidates with room.
pub(crate) fn room() -> Candidates {
    cases::candidates(&[5, 5])
}

pub(crate) fn tables(names: &[&str]) -> Arc<Tables> {
    Arc::new(Tables {
        names: names.iter().map(|name| Arc::from(*name)).collect(),
        providers: names.iter().map(|_| Arc::from("p")).collect(),
        regions: names.iter().map(|_| Arc::from("r")).collect(),
        labels: vec![],
        resources: vec!["cpu".into()],
    })
}

/// A term of the first candidate.
pub(crate) fn term(answer: &Answer<Decision>, name: &str) -> f64 {
    assert!(answer.failed.is_none(), "{:?}", answer.failed);
    let decision = answer.result.as_ref().unwrap();
    decision.terms.iter().find(|term| &*term.name == name).map(|term| term.value).unwrap()
}

/// What the policy that should have decided did instead.
pub(crate) fn failure(answer: &Answer<Decision>) -> String {
    assert_eq!(&*answer.by.digest, "native", "the built-in policy decides");
    assert!(answer.result.is_ok(), "{:?}", answer.result);
    answer.failed.clone().unwrap().1
}

/// The next value of a strategy.
pub(crate) fn draw<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// What a case gives a placement policy: twelve replicas, and room for them on three clusters.
pub(crate) fn placement() -> Value {
    json!({
        "fleet": { "names": ["m1", "m2", "m3"], "providers": ["", "", ""], "regions": ["", "", ""] },
        "request": {
            "namespace": "default", "name": "web", "division": "AvailableReplicas",
            "components": [{ "name": "main", "replicas": 12 }],
        },
        "candidates": {
            "cluster": [0, 1, 2], "ready": [18, 12, 6], "elastic": [0, 0, 0], "current": [0, 0, 0],
            "price": [0, 0, 0], "leadSeconds": [0, 0, 0], "interruption": [0, 0, 0], "tier": [0, 0, 0], "weight": [1, 1, 1],
        },
    })
}
