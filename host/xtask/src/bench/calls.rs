//! One call of each policy by itself, natively and through Wasm: what the planner pays for a policy being a component.
//!
//! Holds: both are asked the same question and give the same answer; they take turns, so that a busy machine slows both
//! alike; the least of many turns counts, which a busy machine does not touch.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use berth_core::native::{self, FifoConfig, cases};
use berth_core::policy::{Candidates, Fit, Job, JobComponent, Kind, NO_ROW, Offers, Policies, Queue, Request, Tables};
use berth_core::workload::Division;
use berth_policy::{PolicyHost, WallClock};
use serde_json::{Value, json};

use super::{Figures, Settings, decisions, rounded};

const PLACEMENT: [&str; 4] = ["weighted", "available", "aggregate", "cost"];
/// Elastic room of a candidate comes in so many steps of price.
const OFFERS: usize = 2;

/// A workload of 8 replicas and candidates with a little room each, at different prices.
pub(super) fn question(count: u32, offers: bool) -> (Request, Candidates) {
    let mut candidates = cases::candidates(&vec![0; count as usize]);
    candidates.elastic = (0..count).map(|row| 1 + row % 7).collect();
    candidates.price = (0..count).map(|row| f64::from(row * 7919 % 1_000) / 100.0 + 0.5).collect();
    candidates.lead_seconds = vec![120; count as usize];
    let steps = || (0..count as usize).flat_map(|row| [row; OFFERS]);
    if offers {
        candidates.offers = Offers {
            candidate: steps().map(|row| row as u32).collect(),
            replicas: steps().map(|row| candidates.elastic[row].div_ceil(OFFERS as u32)).collect(),
            price: steps().enumerate().map(|(at, row)| candidates.price[row] + (at % OFFERS) as f64).collect(),
            lead_seconds: steps().map(|_| 120).collect(),
            interruption: steps().map(|_| 0.05).collect(),
        };
    }
    (cases::request(Division::Free, 8), candidates)
}

/// The tables of a fleet of so many clusters.
pub(super) fn tables(count: u32) -> Arc<Tables> {
    let names: Vec<Arc<str>> = (0..count).map(|row| format!("cluster-{row:05}").into()).collect();
    let same = |text: &str| vec![Arc::from(text); names.len()];
    let (providers, regions) = (same("provider"), same("region"));
    Arc::new(Tables { names, providers, regions, resources: vec!["cpu".into()], ..Tables::default() })
}

/// One gang that fits into every cluster.
fn queue(count: u32) -> Queue {
    let component = JobComponent { name: "worker".into(), replicas: 4, floor: 4, request: vec![1000] };
    let job = Job {
        namespace: "team".into(),
        name: "gang".into(),
        quota: NO_ROW,
        together: true,
        components: vec![component],
        ..Job::default()
    };
    let fits = (0..count).map(|cluster| Fit { job: 0, cluster, now: 1, empty: 2 });
    Queue { jobs: vec![job], fits: fits.collect(), ..Queue::default() }
}

/// Microseconds of the two, each the least of `turns` turns.
fn duel(turns: u32, mut native: impl FnMut(), mut wasm: impl FnMut()) -> (f64, f64) {
    const CALLS: u32 = 10;
    let turn = |call: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..CALLS).for_each(|_| call());
        started.elapsed()
    };
    let (mut one, mut other) = (Duration::MAX, Duration::MAX);
    for _ in 0..turns {
        one = one.min(turn(&mut native));
        other = other.min(turn(&mut wasm));
    }
    let micros = |least: Duration| least.as_secs_f64() * 1e6 / f64::from(CALLS);
    (micros(one), micros(other))
}

/// Figures of each policy by number of candidates.
///
/// # Errors
/// If a policy fails, or answers otherwise than the native algorithm.
pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let mut host = decisions::wasm(&settings.root, WallClock::On)?;
    let (mut micros, mut ratios) = (json!({}), json!({}));
    let mut put = |policy: &str, count: u32, (native, wasm): (f64, f64)| {
        let count = count.to_string();
        micros[format!("{policy} native")][&count] = json!(rounded(native));
        micros[format!("{policy} wasm")][&count] = json!(rounded(wasm));
        ratios[policy][&count] = json!(rounded(wasm / native));
    };
    for count in &settings.clusters {
        // About a second each, less where it is quick.
        let turns = (400_000 / (count + 100)).clamp(20, 1000) / if settings.quick { 10 } else { 1 };
        let tables = tables(*count);
        for name in PLACEMENT {
            put(name, *count, place(&mut host, name, *count, &tables, turns)?);
        }
        put("fifo", *count, admit(&mut host, *count, &tables, turns)?);
        eprintln!("  {count:>6} candidates");
    }
    Ok([("call_us".to_owned(), micros), ("call_wasm_over_native".to_owned(), ratios)]
        .into_iter()
        .collect::<serde_json::Map<String, Value>>())
}

fn place(host: &mut PolicyHost, name: &str, count: u32, tables: &Arc<Tables>, turns: u32) -> Result<(f64, f64)> {
    let named = name.into();
    let needs = host.needs(Kind::Placement, Some(&named), Division::Free);
    let (request, candidates) = question(count, needs.iter().any(|need| &**need == "offers"));
    let answer = host.place(Some(&named), tables, &request, &candidates);
    ensure!(answer.failed.is_none(), "{name} failed: {:?}", answer.failed);
    ensure!(answer.result == native::place(name, &request, &candidates), "{name} answers differently");
    Ok(duel(
        turns,
        || drop(black_box(native::place(name, black_box(&request), &candidates))),
        || drop(black_box(host.place(Some(&named), tables, black_box(&request), &candidates))),
    ))
}

fn admit(host: &mut PolicyHost, count: u32, tables: &Arc<Tables>, turns: u32) -> Result<(f64, f64)> {
    let queue = queue(count);
    let native = || native::fifo(&FifoConfig::default(), tables, black_box(&queue));
    let named = "fifo".into();
    let answer = host.admit(Some(&named), tables, &queue);
    ensure!(answer.failed.is_none(), "fifo failed: {:?}", answer.failed);
    ensure!(answer.result == native(), "fifo answers differently");
    Ok(duel(
        turns,
        || drop(black_box(native())),
        || drop(black_box(host.admit(Some(&named), tables, black_box(&queue)))),
    ))
}
