//! Shadows and canaries: what they may never change, and when a canary goes back.

use std::fs;
use std::time::{Duration, Instant};

use berth_core::fleet::Labels;
use berth_core::ids::PolicyName;
use berth_core::policy::{Answer, Decision, Kind, Policies, Subject};
use berth_core::workload::Division;
use berth_policy::{PolicyHost, PolicyState, Runtime, WallClock};

use crate::support::{Home, builtin, misbehave, request, room, runtime, tables};

/// `cost` decides, with `misbehave` beside it.
fn home(runtime: Runtime, beside: &str) -> Home {
    let mut home = Home::with(runtime);
    home.copy(&builtin("cost.wasm"), "cost.wasm");
    home.copy(&misbehave(), "misbehave.wasm");
    let limits = "limits = { fuel = 3_000_000, deadline-ms = 50 }";
    let beside = if beside.is_empty() { String::new() } else { format!("[policy.cost.{beside}\n{limits}\n") };
    home.write("policies.toml", format!("[policy.cost]\n[policy.misbehave]\n{beside}"));
    home.scan();
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    home
}

const SHADOW: &str = "shadow]\nfile = \"misbehave.wasm\"";
const CANARY: &str = "canary]\nfile = \"misbehave.wasm\"\nshare = 1.0";

fn chosen(host: &PolicyHost, name: &str) -> PolicyName {
    let labels = Labels::new();
    let subject = Subject { namespace: "default", name, labels: &labels, division: Division::Free };
    host.choose(Kind::Placement, None, &subject).unwrap()
}

fn ask(host: &mut PolicyHost, how: &str, now_ms: u64) -> Answer<Decision> {
    let by = chosen(host, "web");
    host.place(Some(&by), &tables(&["a", "b"]), &request(how, now_ms), &room())
}

const WAYS: [&str; 7] = ["", "trap", "loop", "memory", "over-room", "unknown-candidate", "long-message"];

fn decisions(home: &mut Home) -> Vec<String> {
    let mut told = Vec::new();
    for round in 0..14 {
        home.host.begin();
        let answer = ask(&mut home.host, WAYS[round % WAYS.len()], round as u64 * 60_000);
        told.push(format!("{answer:?}"));
    }
    home.host.begin();
    told
}

#[test]
fn a_policy_with_a_name_of_its_own_keeps_it_beside_another() {
    let mut home = Home::with(runtime());
    home.copy(&builtin("cost.wasm"), "cost.wasm");
    home.copy(&builtin("aggregate.wasm"), "aggregate.wasm");
    home.copy(&builtin("weighted.wasm"), "cost-2.wasm");
    let besides = "[policy.cost.shadow]\nfile = \"aggregate.wasm\"\n[policy.cost.canary]\nfile = \"cost-2.wasm\"\n";
    for off in ["", "off = true\n"] {
        home.write("policies.toml", format!("[policy.cost]\n{besides}share = 0.5\n{off}"));
        home.scan();
        assert!(home.refusals().is_empty(), "{:?}", home.refusals());
        let set = home.host.set();
        assert!(set.policies.contains_key("aggregate") && !set.policies.contains_key("weighted"), "{set:?}");
    }
    home.write("aggregate.wasm", "half of it");
    for _ in 0..2 {
        home.scan();
        assert!(home.host.set().policies.contains_key("aggregate"), "what is in force stays");
        assert!(home.refusals().iter().any(|why| why.contains("component")), "{:?}", home.refusals());
    }
}

#[test]
fn a_file_that_breaks_leaves_all_that_was_made_from_it() {
    let mut home = Home::with(runtime());
    home.copy(&builtin("cost.wasm"), "cost.wasm");
    home.copy(&builtin("weighted.wasm"), "weighted.wasm");
    home.write("policies.toml", "[policy.cost.shadow]\nfile = \"weighted.wasm\"\n");
    home.scan();
    assert!(home.refusals().is_empty(), "{:?}", home.refusals());
    home.write("weighted.wasm", "half of it");
    for _ in 0..2 {
        home.scan();
        let set = home.host.set();
        assert!(["weighted", "cost/shadow"].iter().all(|name| set.policies.contains_key(*name)), "{set:?}");
        assert_eq!(home.refusals().len(), 2, "{:?}", home.refusals());
    }
}

#[test]
fn decisions_beside_a_shadow_are_bit_for_bit_those_without() {
    let alone = decisions(&mut home(runtime(), ""));
    let mut shadowed = home(runtime(), SHADOW);
    assert_eq!(decisions(&mut shadowed), alone);
    let rows = shadowed.host.status();
    let row = rows.iter().find(|row| row.name == "cost/shadow").unwrap();
    let compared = row.compared.as_ref().unwrap();
    assert_eq!((row.state, compared.own.calls, compared.own.refusals), (PolicyState::Shadow, 14, 0));
    assert!(compared.other.refusals >= 8 && compared.pairs >= 2, "{compared:?}");
    assert_eq!(compared.pairs + compared.other.refusals, 14);
    assert!(shadowed.host.went_back().is_empty(), "a shadow is in force nowhere, so it cannot go back");
    assert!(!compared.differences.is_empty() && compared.differences[0].about == "default/case", "{compared:?}");
    assert_eq!(rows.iter().find(|row| row.name == "cost").unwrap().calls, 14, "its own counters count what it decides");
}

#[test]
fn a_shadow_that_loops_makes_no_decision_wait() {
    let mut home = home(Runtime::new(WallClock::On).unwrap(), SHADOW);
    ask(&mut home.host, "", 1);
    let started = Instant::now();
    for now in 0..40 {
        home.host.begin();
        assert!(ask(&mut home.host, "loop", now).failed.is_none());
    }
    let took = started.elapsed();
    home.host.begin();
    let deadline = Duration::from_secs(60);
    let calls = |host: &PolicyHost| {
        let rows = host.status();
        let row = rows.into_iter().find(|row| row.name == "cost/shadow").unwrap();
        row.compared.unwrap().own.calls
    };
    while calls(&home.host) < 41 {
        assert!(started.elapsed() < deadline, "what was asked is compared in the end");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(took < started.elapsed() || took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_canary_decides_for_its_share_and_labels_in_its_own_name() {
    let mut home = home(runtime(), "canary]\nfile = \"misbehave.wasm\"\nshare = 0.1\nlabels = { tier = \"batch\" }");
    let mut taken = 0;
    for number in 0..1_000 {
        taken += u32::from(chosen(&home.host, &format!("web-{number}")).as_str() == "cost/canary");
    }
    assert!((70..130).contains(&taken), "{taken} of 1,000");
    let labels = Labels::from([("tier".into(), "batch".into())]);
    let subject = Subject { namespace: "default", name: "web", labels: &labels, division: Division::Free };
    let by = home.host.choose(Kind::Placement, None, &subject).unwrap();
    assert_eq!(by.as_str(), "cost/canary");
    let answer = home.host.place(Some(&by), &tables(&["a", "b"]), &request("", 1), &room());
    assert_eq!((answer.by.name.as_str(), answer.failed), ("cost/canary", None));
    assert_eq!(*answer.by.digest, *home.row("misbehave").digest);
}

fn run_into_the_ground(home: &mut Home) {
    for now in 0..5 {
        home.host.begin();
        assert_eq!(chosen(&home.host, "web").as_str(), "cost/canary");
        assert!(ask(&mut home.host, "trap", now).failed.is_some());
        assert_eq!(chosen(&home.host, "web").as_str(), "cost/canary", "not within a cycle");
    }
    home.host.begin();
}

#[test]
fn a_canary_that_fails_goes_back_says_why_and_stays_back_until_it_changes() {
    let mut home = home(runtime(), CANARY);
    let kept = home.path("canaries.json");
    home.host.remember(kept.clone());
    run_into_the_ground(&mut home);
    assert_eq!(chosen(&home.host, "web").as_str(), "cost");
    let back = home.host.went_back();
    assert_eq!((back.len(), back[0].policy.as_str()), (1, "cost/canary"));
    assert!(back[0].why.contains("5 calls in a row failed: it trapped"), "{}", back[0].why);
    assert!(home.host.went_back().is_empty(), "told once");
    let rows = home.host.status();
    let row = rows.iter().find(|row| row.name == "cost/canary").unwrap();
    assert_eq!((row.state, row.reason.as_deref()), (PolicyState::WentBack, Some(&*back[0].why)));

    // The process is killed and started again.
    let mut again = PolicyHost::new(&home.directory);
    again.remember(kept.clone());
    again.begin();
    assert_eq!(chosen(&again, "web").as_str(), "cost");

    // Another configuration is another canary.
    let text = fs::read_to_string(home.path("policies.toml")).unwrap();
    home.write("policies.toml", text.replace("share = 1.0", "share = 1.0\nconfig = { tag = 7 }"));
    home.scan();
    assert_eq!(chosen(&home.host, "web").as_str(), "cost/canary");

    // A file that says nothing is as good as none.
    fs::write(&kept, "[{").unwrap();
    let mut again = PolicyHost::new(&home.directory);
    again.remember(kept);
    again.begin();
    assert_eq!(chosen(&again, "web").as_str(), "cost/canary");
}

#[test]
fn answers_that_break_a_rule_and_too_many_refusals_send_a_canary_back() {
    let mut home = home(runtime(), &format!("{CANARY}\nguard = {{ after = 4, refusals = 0.2 }}"));
    for (now, how) in ["", "", "", "over-room"].into_iter().enumerate() {
        home.host.begin();
        let answer = ask(&mut home.host, how, now as u64);
        if how == "over-room" {
            home.host.broke_rule(Kind::Placement, &answer.by, "more than the room");
        }
    }
    home.host.begin();
    let back = home.host.went_back();
    assert_eq!(back.len(), 1);
    assert!(
        back[0].why.starts_with("refusals: 25.0 % of 4 calls, and 20.0 % are allowed: its answer broke a rule"),
        "{}",
        back[0].why
    );
}

#[test]
fn a_rule_that_another_policy_breaks_is_not_held_against_a_canary() {
    let mut home = home(runtime(), &format!("{CANARY}\nguard = {{ after = 1, refusals = 0.0 }}"));
    home.host.begin();
    ask(&mut home.host, "", 1);
    let answer = home.ask("over-room", 1);
    assert_eq!(answer.by.name.as_str(), "misbehave");
    home.host.broke_rule(Kind::Placement, &answer.by, "more than the room");
    home.host.begin();
    assert!(home.host.went_back().is_empty());
    let rows = home.host.status();
    let compared = rows.iter().find_map(|row| row.compared.as_ref()).unwrap();
    assert_eq!((compared.pairs, compared.other.refusals), (1, 0));
}

#[test]
fn a_canary_that_lets_more_wait_goes_back() {
    let mut home = home(runtime(), &format!("{CANARY}\nguard = {{ after = 3, waiting = 0.05, refusals = 1.0 }}"));
    for now in 0..3 {
        home.host.begin();
        ask(&mut home.host, "long-message", now);
    }
    home.host.begin();
    let back = home.host.went_back();
    assert!(back.len() == 1 && back[0].why.starts_with("waiting: 100.0 % of the replicas, and 0.0 %"), "{back:?}");
}

#[test]
fn what_cannot_stand_beside_a_policy_is_refused_and_the_policy_stays() {
    for (beside, why) in [
        (
            "canary]\nfile = \"fifo.wasm\"\nshare = 0.5",
            "cost/canary: it is a gang policy, and cost is a placement policy",
        ),
        ("canary]\nfile = \"none.wasm\"\nshare = 0.5", "cost/canary: it cannot be read"),
        ("shadow]\nfile = \"misbehave.wasm\"\nconfig = { mode = \"trap\" }", "cost/shadow: it failed its probe"),
        (
            "shadow]\nfile = \"misbehave.wasm\"\ndigest = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"",
            "is wanted",
        ),
        ("canary]\nfile = \"misbehave.wasm\"", "line 3, column 1: the canary decides for nobody"),
        (
            "canary]\nfile = \"misbehave.wasm\"\nshare = 10",
            "line 5, column 9: share is 10; it must be above 0 and at most 1",
        ),
        ("canary]\nshare = 0.1", "[policy.cost.canary] is the same as the policy"),
        ("canary]\nfile = \"x.wasm\"\nshare = 0.1\nguard = { waitin = 1 }", "did you mean `waiting`?"),
    ] {
        let mut home = home(runtime(), "");
        home.copy(&builtin("fifo.wasm"), "fifo.wasm");
        home.write("policies.toml", format!("[policy.cost]\n[policy.misbehave]\n[policy.cost.{beside}\n"));
        home.scan();
        assert!(home.refusals().iter().any(|refusal| refusal.contains(why)), "{why}\n{:?}", home.refusals());
        assert_eq!(chosen(&home.host, "web").as_str(), "cost");
    }
}

#[test]
fn a_second_file_of_a_name_does_not_take_it_over() {
    let mut home = Home::new();
    home.copy(&builtin("cost.wasm"), "cost-2.wasm");
    home.copy(&builtin("cost.wasm"), "cost.wasm");
    home.scan();
    assert!(home.directory.set().policies["cost"].file.ends_with("cost.wasm"));
    assert_eq!(home.refusals().len(), 1, "{:?}", home.refusals());
    home.write("policies.toml", "[policy.cost]\n[policy.cost.previous]\nfile = \"cost-2.wasm\"\n");
    home.scan();
    assert!(home.refusals().is_empty(), "one that is kept for later is nobody's rival: {:?}", home.refusals());
}
