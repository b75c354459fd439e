//! Whole simulations through the controller with the built-in policies.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use berth_control::event::{Event, What};
use berth_core::native::Builtin;

use super::*;

fn data(file: &str) -> PathBuf {
    Path::new(env!("BERTH_TRACE_DATA")).join(file)
}

#[derive(Default)]
struct Heard(Vec<Event>);

impl Events for Heard {
    fn emit(&mut self, event: Event) {
        self.0.push(event);
    }
}

fn run_example(seed: u64, heard: &mut Heard) -> Report {
    let objects = example::fleet_objects().unwrap();
    let options = FleetOptions { seed, ..FleetOptions::default() };
    let mut policies = Builtin::default();
    let done =
        simulate_fleet("example", &objects, &example::source(), &options, &mut policies, Some(heard), &mut |_| {});
    done.unwrap().0
}

#[test]
fn the_example_places_runs_out_of_stock_moves_on_and_scales_down() {
    let mut heard = Heard::default();
    let report = run_example(1, &mut heard);
    let tell = |event: &Event| println!("{:>6} s  {event}", event.at.since(START) / 1000);
    heard.0.iter().for_each(tell);
    println!("{report}");
    let failed = heard.0.iter().filter_map(|event| match &event.what {
        What::OrderFailed { cluster, delivered, wanted, .. } => Some((event.at, cluster.clone(), *delivered, *wanted)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(!failed.is_empty(), "an order runs out of stock");
    assert!(
        failed.iter().any(|(_, _, delivered, wanted)| *delivered > 0 && delivered < wanted),
        "in its middle: {failed:?}"
    );
    let (at, lost, ..) = failed[0].clone();
    let elsewhere = |event: &&Event| {
        matches!(&event.what, What::NodesOrdered { cluster, .. } if *cluster != lost) && event.at >= at
    };
    assert!(heard.0.iter().any(|event| elsewhere(&event)), "the rest goes to another region");
    assert!(heard.0.iter().any(|event| matches!(event.what, What::NodesRemoved { .. })), "nodes go when load falls");
    assert_eq!((report.placed, report.workloads), (1, 1));
    assert!(report.waiting.count > 3 && report.cost_usd > 0.5, "{report:?}");
    assert!(report.nodes_removed > 0 && report.gpus.peak_gpus >= 6.0);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let json = |seed| serde_json::to_string(&run_example(seed, &mut Heard::default())).unwrap();
    assert_eq!(json(7), json(7));
    assert_ne!(json(7), json(8));
}

#[test]
fn zones_of_a_series_are_matched_with_the_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let objects = example::fleet_objects().unwrap();
    let mut policies = Builtin::default();
    let mut run = |stock: PathBuf, load: Option<PathBuf>| {
        let options = FleetOptions { stock: Some(stock), load, length_ms: Some(600_000), ..FleetOptions::default() };
        simulate_fleet("x", &objects, &example::source(), &options, &mut policies, None, &mut |_| {})
    };
    let known = write("stock.csv", "time,us-east-2a,mars-1a\n0,1,1\n600,0,1\n");
    let (report, _) = run(known, None).unwrap();
    assert!(report.warnings[0].contains("no Offering in zone mars-1a"), "{:?}", report.warnings);
    let unknown = write("mars.csv", "time,mars-1a\n0,1\n");
    assert!(run(unknown, None).unwrap_err().to_string().contains("no Offering in any of mars-1a"));
    let broken = write("broken.csv", "time,requests\n0,many\n");
    let stock = write("stock2.csv", "time,us-east-2a\n0,1\n");
    assert!(
        run(stock, Some(broken))
            .unwrap_err()
            .to_string()
            .ends_with("line 2, column requests: \"many\" is no count; write a whole number")
    );
}

fn replay(limit: Option<usize>, compress: u64) -> (Report, Timing) {
    let options = TraceOptions { seed: 1, limit, compress };
    let mut policies = Builtin::default();
    simulate_trace(&data("alibaba-gpu-2023"), &options, &mut policies, &mut |_| {}).unwrap()
}

#[test]
#[cfg_attr(not(have_trace_data), ignore = "no trace data: set BERTH_DATA")]
fn a_part_of_the_trace_replays_with_the_same_bytes() {
    let (first, timing) = replay(Some(100), 1);
    println!("{first}\n{timing}");
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&replay(Some(100), 1).0).unwrap());
    assert_eq!((first.workloads, first.placed, first.finished), (100, 100, 100));
    assert_eq!(first.digest.len(), 64);
}

/// Arrivals so dense that the GPUs run out: some wait, none is lost.
#[test]
#[cfg_attr(not(have_trace_data), ignore = "no trace data: set BERTH_DATA")]
fn a_dense_trace_fills_the_fleet() {
    let (report, timing) = replay(Some(600), 100_000);
    println!("{report}\n{timing}");
    assert_eq!((report.workloads, report.placed, report.finished), (600, 600, 600));
    assert!(report.gpus.peak_gpus > 100.0);
}
