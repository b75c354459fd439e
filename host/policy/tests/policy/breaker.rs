//! A policy that keeps failing is taken out, by the caller's clock, and tried again.

use berth_core::policy::{Kind, Policies};
use berth_policy::{Failure, PolicyState};

use crate::support::{Home, failure, term};

const SECOND: u64 = 1_000;

#[test]
fn five_failures_in_a_row_take_it_out_for_a_minute_then_for_two() {
    let mut home = Home::misbehaving("");
    for now in 0..5 {
        assert!(failure(&home.ask("trap", now)).contains("it trapped"));
    }
    let row = home.row("misbehave");
    assert_eq!((row.state, row.calls), (PolicyState::TakenOut, 5));
    assert!(row.reason.unwrap().contains("it trapped"));

    // Out: it is not asked, whatever the question.
    assert_eq!(failure(&home.ask("", 4 + 59 * SECOND)), "it is taken out for 1 s more after repeated failures");
    assert_eq!(home.failures("misbehave", Failure::Trap), 5);

    // Half open: one more failure, and it is out for twice as long.
    assert!(failure(&home.ask("trap", 4 + 60 * SECOND)).contains("it trapped"));
    assert!(failure(&home.ask("", 4 + 179 * SECOND)).contains("taken out"));

    // Half open again: an answer that stands closes the breaker.
    term(&home.ask("", 4 + 180 * SECOND), "calls");
    term(&home.ask("", 4 + 181 * SECOND), "calls");
    assert_eq!(home.row("misbehave").state, PolicyState::Active);
    assert!(failure(&home.ask("trap", 4 + 182 * SECOND)).contains("it trapped"));
    term(&home.ask("", 4 + 183 * SECOND), "calls");
}

#[test]
fn answers_that_break_a_rule_count_as_failures() {
    let mut home = Home::misbehaving("");
    for now in 0..5 {
        let answer = home.ask("over-room", now);
        assert!(answer.failed.is_none());
        home.host.broke_rule(Kind::Placement, &answer.by, "more than the room");
    }
    assert!(failure(&home.ask("", 6)).contains("taken out"));
    let row = home.row("misbehave");
    assert_eq!(row.failures.get(&Failure::BrokeRule), Some(&5));
    assert!(row.reason.unwrap().contains("more than the room"));
}

#[test]
fn failures_between_good_answers_do_not_add_up() {
    let mut home = Home::misbehaving("");
    for now in 0..20 {
        home.ask(if now % 2 == 0 { "trap" } else { "" }, now);
    }
    assert_eq!(home.row("misbehave").state, PolicyState::Active);
    assert_eq!(home.failures("misbehave", Failure::Trap), 10);
}

#[test]
fn one_that_uses_up_its_fuel_twice_within_a_minute_is_taken_out_whatever_lies_between() {
    let mut home = Home::misbehaving("");
    assert!(failure(&home.ask("loop", 0)).contains("used up its fuel"));
    term(&home.ask("", 1), "calls");
    // A minute later it is as if it had never happened.
    assert!(failure(&home.ask("loop", 61 * SECOND)).contains("used up its fuel"));
    term(&home.ask("", 62 * SECOND), "calls");
    assert_eq!(home.row("misbehave").state, PolicyState::Active);
    assert!(failure(&home.ask("loop", 100 * SECOND)).contains("used up its fuel"));
    assert_eq!(failure(&home.ask("", 101 * SECOND)), "it is taken out for 59 s more after repeated failures");
    // Tried again it fails once, and is out for twice as long.
    assert!(failure(&home.ask("loop", 160 * SECOND)).contains("used up its fuel"));
    assert!(failure(&home.ask("", 279 * SECOND)).contains("taken out for 1 s more"));
    term(&home.ask("", 280 * SECOND), "calls");
    term(&home.ask("", 281 * SECOND), "calls");
    assert_eq!(home.row("misbehave").state, PolicyState::Active);
    assert_eq!(home.failures("misbehave", Failure::Fuel), 4);
}

#[test]
fn a_new_file_or_configuration_starts_afresh() {
    let mut home = Home::misbehaving("");
    (0..5).for_each(|now| drop(home.ask("trap", now)));
    assert!(failure(&home.ask("", 6)).contains("taken out"));
    home.write("policies.toml", "[policy.misbehave]\nconfig = { tag = 2 }\n");
    home.scan();
    assert_eq!(term(&home.ask("", 7), "tag"), 2.0);
}
