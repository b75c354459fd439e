//! Stock and load over time, as CSV files.
//!
//! - A file is accepted or refused whole, with one short line that says where and why.
//! - What is accepted is in order, and whatever is asked of it has an answer within bounds.
//! - A simulation that follows it goes on, and comes to the end.

use std::collections::BTreeMap;

use berth_api::fleet_file::load_fleet;
use berth_core::ids::Millis;
use berth_sim::series::{Availability, Requests};
use berth_sim::{Options, SeriesError, Simulation, Source};

use crate::manifests::is_line;
use crate::still::START;

const FLEET: &str = include_str!("fleet.yaml");
const SIMULATION: &str = include_str!("simulation.yaml");
/// Changes of one simulation that are looked at.
const EVENTS: usize = 64;

/// Reads a text as either kind of series, and follows it.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    availability(text);
    requests(text);
    follow(text);
}

fn is_told_well(error: &SeriesError) {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        is_line(&error.to_string());
        cause = error.source();
    }
}

fn availability(text: &str) {
    let series = match Availability::read("stock.csv", text) {
        Ok(series) => series,
        Err(error) => return is_told_well(&error),
    };
    assert!(!series.times.is_empty() && series.times[0] == 0 && series.times.is_sorted());
    assert_eq!(series.columns.len(), series.there.len());
    let length = series.length();
    for (column, there) in series.there.iter().enumerate() {
        assert_eq!(there.len(), series.times.len());
        for offset in [0, 1, length / 2, length, u64::MAX] {
            let changes = series.changes(column, offset);
            assert_eq!(changes.first().map(|(at, _)| *at), Some(0), "a column without a beginning");
            assert!(changes.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 != two[1].1), "{changes:?}");
        }
    }
}

fn requests(text: &str) {
    let series = match Requests::read("load.csv", text) {
        Ok(series) => series,
        Err(error) => return is_told_well(&error),
    };
    assert!(!series.times.is_empty() && series.times[0] == 0 && series.times.is_sorted());
    assert!(series.sums.len() == series.times.len() && series.sums.is_sorted());
    let length = series.length();
    let last = series.times.last().copied().unwrap_or(0);
    assert!(length > last, "a series must end after its last row");
    assert_eq!(series.before(0), 0);
    assert_eq!(Some(series.before(u64::MAX)), series.sums.last().copied());
    assert!(series.before(length / 2) <= series.before(length));
}

fn follow(text: &str) {
    let fleet = load_fleet("fleet.yaml", &format!("{FLEET}---\n{SIMULATION}")).unwrap();
    let spec = berth_sim::example::simulation(&fleet.objects);
    let files = ["stock.csv", "load.csv"].map(|file| (file.to_owned(), text.to_owned()));
    for file in files {
        // The other one is well.
        let mut texts: BTreeMap<String, String> = BTreeMap::from([
            ("stock.csv".to_owned(), "time,a,b\n0,1,1\n60,0,1\n".to_owned()),
            ("load.csv".to_owned(), "time\n0\n1\n2\n".to_owned()),
        ]);
        texts.extend([file]);
        let source = Source::Texts(texts);
        match Simulation::new(&fleet.objects, spec, 1, START, &source, Options::default()) {
            Err(error) => is_line(&error.to_string()),
            Ok(mut simulation) => {
                let mut last = Millis(0);
                for _ in 0..EVENTS {
                    let Some(next) = simulation.next_event() else { break };
                    assert!(next > last, "time does not go on");
                    last = next;
                    simulation.advance(next);
                    for (_, replicas) in simulation.load() {
                        assert!((1..=6).contains(&replicas), "{replicas} replicas");
                    }
                }
                let _ = simulation.is_over();
            }
        }
    }
}
