//! What a guest can do wrong in a call, and that the fleet gets a decision all the same.

use std::time::{Duration, Instant};

use berth_core::check::check_decision;
use berth_policy::{Failure, Runtime, WallClock};

use crate::support::{Home, failure, misbehave, request, room, term};

const LITTLE_FUEL: &str = "[policy.misbehave]\nlimits = { fuel = 300_000_000, memory-mib = 64 }\n";

/// Misbehaves once, and is asked again: the second answer must be good and come from a new session.
fn once(how: &str, kind: Failure, says: &str) {
    let mut home = Home::misbehaving(LITTLE_FUEL);
    assert_eq!(term(&home.ask("", 1), "calls"), 1.0);
    assert_eq!(term(&home.ask("", 2), "calls"), 2.0);
    let what = failure(&home.ask(how, 3));
    assert!(what.contains(says), "{what}");
    assert_eq!(home.failures("misbehave", kind), 1, "{:?}", home.row("misbehave"));
    assert_eq!(term(&home.ask("", 4), "calls"), 1.0, "a session that failed is never called again");
}

#[test]
fn a_trap() {
    once("trap", Failure::Trap, "it trapped");
}

#[test]
fn an_endless_loop_ends_by_fuel() {
    once("loop", Failure::Fuel, "used up its fuel");
}

#[test]
fn endless_recursion() {
    once("recurse", Failure::Trap, "it trapped");
}

#[test]
fn a_memory_hog() {
    once("memory", Failure::Memory, "64 MiB");
}

#[test]
fn an_answer_too_large_to_take() {
    once("large-answer", Failure::BadAnswer, "its answer cannot be taken");
}

#[test]
fn more_assignments_than_pairs_are_not_converted() {
    once("many", Failure::BadAnswer, "it has 1000 assignments, and there can be 2 at the most");
}

#[test]
fn an_endless_loop_ends_by_wall_time_where_there_is_a_clock() {
    let mut home = Home::with(Runtime::new(WallClock::On).unwrap());
    home.copy(&misbehave(), "misbehave.wasm");
    home.write("policies.toml", "[policy.misbehave]\nlimits = { fuel = 1_000_000_000_000, deadline-ms = 100 }\n");
    home.scan();
    let started = Instant::now();
    assert_eq!(failure(&home.ask("loop", 1)), "it ran past its deadline");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(home.failures("misbehave", Failure::Deadline), 1);
    term(&home.ask("", 2), "calls");
}

#[test]
fn memory_that_leaks_costs_the_session_and_no_more() {
    let mut home = Home::misbehaving("[policy.misbehave]\nlimits = { memory-mib = 16 }\n");
    let mut failed = 0;
    for now in 0..60 {
        match home.ask("leak", now).failed {
            Some((_, what)) => {
                assert!(what.contains("16 MiB"), "{what}");
                failed += 1;
            }
            None => assert!(home.row("misbehave").memory_bytes <= 16 << 20),
        }
    }
    assert!((2..10).contains(&failed), "{failed}");
    assert_eq!(home.failures("misbehave", Failure::Memory), failed);
}

/// Wrong rows and amounts come through as they are: the independent check is what refuses them.
#[test]
fn wrong_rows_are_left_to_the_check() {
    let mut home = Home::misbehaving("");
    for (how, says) in [
        ("unknown-candidate", "candidate 2 is not there"),
        ("unknown-component", "component 99 is not there"),
        ("twice", "candidate 0 is named twice"),
        ("over-room", "which holds 5"),
    ] {
        let answer = home.ask(how, 1);
        assert!(answer.failed.is_none());
        let violation = check_decision(&request(how, 1), &room(), &answer.result.unwrap()).unwrap_err().to_string();
        assert!(violation.contains(says), "{violation}");
    }
}

#[test]
fn a_long_message_is_cut() {
    let problem = Home::misbehaving("").ask("long-message", 1).result.unwrap_err();
    assert!(problem.message.len() <= 512 && problem.message.ends_with('…'), "{}", problem.message.len());
}

#[test]
fn the_same_call_uses_the_same_fuel() {
    let fuel = || {
        let mut home = Home::misbehaving("");
        [home.ask("", 7).fuel, home.ask("", 7).fuel]
    };
    let first = fuel();
    assert!(first[0] > 0);
    assert_eq!(first, fuel());
}
