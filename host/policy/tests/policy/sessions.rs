//! Sessions: kept while nothing changes, updated by rows, and equal to a new one after any update.

use std::sync::Arc;

use berth_core::policy::{Policies, Tables};
use berth_policy::PolicyHost;
use proptest::prelude::*;

use crate::support::{Home, draw, request, room, tables, term};

fn asked(host: &mut PolicyHost, tables: &Arc<Tables>) -> (f64, f64) {
    let answer = host.place(Some(&"misbehave".into()), tables, &request("", 1), &room());
    (term(&answer, "calls"), term(&answer, "tables"))
}

#[test]
fn a_session_is_kept_and_updated_until_the_difference_is_large() {
    let mut home = Home::misbehaving("");
    let first = tables(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let (calls, sum) = asked(&mut home.host, &first);
    assert_eq!(calls, 1.0);
    assert_eq!(asked(&mut home.host, &first), (2.0, sum));

    let mut one_more = Tables::clone(&first);
    one_more.names[1] = "renamed".into();
    one_more.labels = vec![(1, "zone".into(), "z".into())];
    let (calls, changed) = asked(&mut home.host, &Arc::new(one_more));
    assert_eq!(calls, 3.0, "few rows are an update");
    assert_ne!(changed, sum);

    let others = tables(&["s", "t", "u", "v", "w", "x", "y", "z"]);
    assert_eq!(asked(&mut home.host, &others).0, 1.0, "all rows are a new session");
}

fn any_tables() -> impl Strategy<Value = Tables> {
    let text = || prop::sample::select(vec!["", "a", "b", "ü"]);
    let labels = prop::collection::btree_map(text(), text(), 0..3);
    let rows = prop::collection::vec((text(), text(), text(), labels), 2..7);
    (rows, 1..4_usize).prop_map(|(rows, resources)| {
        let labels = rows.iter().zip(0..).flat_map(|((.., labels), row)| {
            labels.iter().map(move |(key, value)| (row, Arc::from(*key), Arc::from(*value)))
        });
        Tables {
            labels: labels.collect(),
            names: rows.iter().map(|row| Arc::from(row.0)).collect(),
            providers: rows.iter().map(|row| Arc::from(row.1)).collect(),
            regions: rows.iter().map(|row| Arc::from(row.2)).collect(),
            resources: ["cpu", "memory", "gpu"][..resources].iter().map(|name| Arc::from(*name)).collect(),
        }
    })
}

#[test]
fn an_updated_session_is_equal_to_a_new_one() {
    let mut home = Home::misbehaving("");
    let mut updates = 0;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..60 {
        let mut steps = vec![draw(&mut runner, any_tables())];
        for _ in 0..4 {
            // Mostly one row of the last state changes, as in a live fleet; now and then everything does.
            let other = draw(&mut runner, any_tables());
            let mut next = steps.last().unwrap().clone();
            if other.names.len() == next.names.len() {
                next = other;
            } else {
                next.names[0] = other.names[0].clone();
                next.labels.retain(|label| label.0 != 0);
                next.labels.splice(0..0, other.labels.iter().filter(|label| label.0 == 0).cloned());
                next.resources =
                    if other.resources.len() > next.resources.len() { other.resources } else { next.resources };
            }
            steps.push(next);
        }
        for step in steps.into_iter().map(Arc::new) {
            let (calls, sum) = asked(&mut home.host, &step);
            updates += u32::from(calls > 1.0);
            assert_eq!(sum, asked(&mut PolicyHost::new(&home.directory), &step).1, "{step:?}");
        }
    }
    assert!(updates > 50, "{updates}: the test must see updates");
}
