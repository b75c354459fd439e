//! What a pull does in the folder of a controller.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::COST;
use super::program::{Desk, PATIENCE, Registry, digest};

/// A controller with the folder, which ends with its value.
struct Controller<'a> {
    desk: &'a Desk,
    child: Child,
    server: String,
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Controller<'a> {
    fn start(desk: &'a Desk) -> Self {
        let fleet = "../../tests/system/scripts/policies/fleet.yaml";
        desk.write("fleet.yaml", fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(fleet)).unwrap());
        let log = File::create(desk.path("run.log")).unwrap();
        let run = ["run", "--fleet", "fleet.yaml", "--data-dir", "data", "--speed", "1", "--listen", "127.0.0.1:0"];
        let child = desk.command(&run).env("RUST_LOG", "info").stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let mut controller = Self { desk, child, server: String::new() };
        controller.server = controller.eventually("an address", |controller| {
            let log = fs::read_to_string(controller.desk.path("run.log")).unwrap();
            Some(format!("http://{}", log.split("http://").nth(1)?.split_once(' ')?.0))
        });
        controller
    }

    fn eventually<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let log = fs::read_to_string(self.desk.path("run.log")).unwrap();
            assert!(begun.elapsed() < PATIENCE, "no {what}: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it says of one policy.
    fn policy(&self, name: &str) -> Vec<Value> {
        let mut list = self.desk.command(&["policy", "list", "-o", "json"]);
        let list = self.desk.run(list.env("BERTH_SERVER", &self.server)).json();
        list["items"].as_array().unwrap().iter().filter(|row| row["name"] == name).cloned().collect()
    }
}

/// Pushes `1.0`, which the folder has, and `2.0`, and says the digests of the components.
fn two_versions(desk: &Desk, reference: &str) -> [String; 2] {
    desk.write("new/cost.wasm", desk.another(COST, "2.0"));
    [(COST, "1.0"), ("new/cost.wasm", "2.0")]
        .map(|(file, tag)| desk.push(file, &format!("{reference}:{tag}"))["digest"].as_str().unwrap().to_owned())
}

#[test]
fn a_running_controller_swaps_to_what_is_pulled() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost", registry.host);
    let [old, new] = two_versions(&desk, &reference);
    let controller = Controller::start(&desk);
    let in_force = |digest: &str| {
        controller.eventually(digest, |controller| {
            let rows = controller.policy("cost");
            let hex = digest.strip_prefix("sha256:").unwrap();
            (rows.len() == 1 && rows[0]["state"] == "active" && rows[0]["digest"] == hex).then_some(())
        });
    };
    in_force(&old);
    let pulled = desk.pull(&format!("{reference}:2.0")).json();
    assert_eq!((&pulled["was"], &pulled["digest"]), (&json!(old), &json!(new)));
    in_force(&new);
    // And back, by the version before.
    desk.pull(&format!("{reference}:1.0")).json();
    in_force(&old);
}

#[test]
fn a_file_is_replaced_by_another_version_of_the_same_policy_alone() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost:1.0", registry.host);
    desk.push(COST, &reference);
    let text = desk.berth(&["policy", "pull", &reference]);
    assert!(
        text.done && text.out.contains("(placement) is in policies/cost.wasm, as it was"),
        "{}{}",
        text.out,
        text.err
    );
    for (file, words) in [("fifo.wasm", "holds fifo, a gang policy"), ("policies.toml", "is there, and is no policy")] {
        let bytes = desk.read(&format!("policies/{file}"));
        desk.write("taken.wasm", &bytes);
        let pull = ["policy", "pull", &reference, "--out", "taken.wasm"];
        desk.berth(&pull).refused(&["taken.wasm", words, "--force"]);
        assert_eq!(desk.read("taken.wasm"), bytes);
        assert!(desk.berth(&[&pull[..], &["--force"]].concat()).done);
        assert_eq!(desk.read("taken.wasm"), desk.read(COST));
    }
    // The file of a policy is the one that the configuration has for it.
    let config = String::from_utf8(desk.read("policies/policies.toml")).unwrap();
    desk.write("policies/policies.toml", format!("{config}\n[policy.cost]\nfile = \"cost-1.wasm\"\n"));
    fs::rename(desk.path(COST), desk.path("policies/cost-1.wasm")).unwrap();
    assert_eq!(desk.pull(&reference).json()["file"], "policies/cost-1.wasm");
    assert!(!desk.path(COST).exists());
    // Or the one that gives itself its name, whatever it is called.
    desk.write("policies/policies.toml", &config);
    fs::rename(desk.path("policies/cost-1.wasm"), desk.path("policies/cheap.wasm")).unwrap();
    assert_eq!(desk.pull(&reference).json()["file"], "policies/cheap.wasm");
    desk.berth(&["policy", "pull", &reference, "--policies", "absent"]).refused(&["absent is not there"]);
}

#[test]
fn a_policy_may_be_pinned_to_what_was_pulled() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost", registry.host);
    let [old, new] = two_versions(&desk, &reference);
    let config = desk.read("policies/policies.toml");
    let pinned = desk.berth(&["policy", "pull", &format!("{reference}:1.0"), "--pin"]);
    assert!(pinned.done && pinned.out.contains("pinned"), "{}", pinned.err);
    let written = String::from_utf8(desk.read("policies/policies.toml")).unwrap();
    let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let pin = format!("[policy.cost]\ndigest = \"{old}\"\n");
    assert!(written.contains(&pin), "{written}");
    assert_eq!(lines(&written.replace(&pin, "")), lines(std::str::from_utf8(&config).unwrap()), "all else is kept");
    // Another version is not put in its place by the way.
    let before = desk.files("policies");
    let later = format!("{reference}:2.0");
    desk.pull(&later).refused(&["pins cost to", &old, &new, "hint: pull with --pin"]);
    desk.berth(&["policy", "pull", &later, "--force"]).refused(&["pins cost to"]);
    assert_eq!(desk.files("policies"), before);
    assert!(desk.berth(&["policy", "pull", &later, "--pin"]).done);
    assert!(String::from_utf8(desk.read("policies/policies.toml")).unwrap().contains(&format!("digest = \"{new}\"")));
    // The controller's own code takes what is there.
    assert_eq!(digest(&desk.read(COST)), new);
    desk.pull(&later).json();
}

#[test]
fn what_the_folder_would_not_take_is_not_put_there() {
    let Some(registry) = Registry::open() else { return };
    let desk = Desk::new();
    let reference = format!("{}/cost:1.0", registry.host);
    desk.push(COST, &reference);
    let config = String::from_utf8(desk.read("policies/policies.toml")).unwrap();
    // It is configured for a version that is not there yet.
    fs::remove_file(desk.path(COST)).unwrap();
    desk.write("policies/policies.toml", format!("{config}\n[policy.cost]\nconfig = {{ gadgets = 1 }}\n"));
    let before = desk.files("policies");
    desk.pull(&reference).refused(&["a controller would refuse it", "cost", "gadgets"]);
    assert_eq!(desk.files("policies"), before);
    // Where it names two that are not there, one is pulled after the other.
    let two = "[[bind]]\nkind = \"placement\"\nnamespaces = [\"a\"]\npolicy = \"cost\"\n";
    let two = format!("{config}\n{two}{}", two.replace("\"cost\"", "\"other\""));
    desk.write("policies/policies.toml", &two);
    desk.pull(&reference).json();
    desk.write("policies/policies.toml", "[policy");
    desk.pull(&reference).refused(&["policies.toml is refused", "mend it first"]);
    assert_eq!(desk.read("policies/policies.toml"), b"[policy");
}
