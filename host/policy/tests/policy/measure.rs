//! What a call costs, and how long a new file takes. Run alone and optimised:
//! `cargo test --release -p berth-policy --test policy measure -- --ignored --nocapture --test-threads 1`.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use berth_core::native::{self, cases};
use berth_core::policy::{Candidates, Offers, Policies, Request};
use berth_core::workload::Division;
use berth_policy::{PolicyHost, Runtime, Scan, WallClock, Watch};

use crate::support::{Home, builtin, misbehave, tables, term, variant};

/// Candidates with some room each and different prices.
fn question(count: u32) -> (Request, Candidates) {
    let mut candidates = cases::candidates(&vec![0; count as usize]);
    candidates.elastic = (0..count).map(|row| 1 + row % 7).collect();
    candidates.price = (0..count).map(|row| f64::from(row * 7919 % 1_000) / 100.0 + 0.5).collect();
    candidates.offers = Offers {
        candidate: (0..count).collect(),
        replicas: candidates.elastic.clone(),
        price: candidates.price.clone(),
        lead_seconds: vec![120; count as usize],
        interruption: vec![0.05; count as usize],
    };
    (cases::request(Division::Free, 8), candidates)
}

fn micros(rounds: u32, mut call: impl FnMut()) -> f64 {
    (0..rounds / 10).for_each(|_| call());
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        (0..rounds).for_each(|_| call());
        best = best.min(started.elapsed());
    }
    best.as_secs_f64() * 1e6 / f64::from(rounds)
}

#[test]
#[ignore = "measures"]
fn calls() {
    let mut home = Home::with(Runtime::new(WallClock::On).unwrap());
    for name in ["weighted.wasm", "available.wasm", "aggregate.wasm", "cost.wasm"] {
        home.copy(&builtin(name), name);
    }
    home.copy(&misbehave(), "misbehave.wasm");
    home.scan();
    for count in [10, 100, 1_000, 10_000] {
        let (request, candidates) = question(count);
        let names: Vec<String> = (0..count).map(|row| format!("cluster-{row:05}")).collect();
        let tables = tables(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let rounds = (2_000_000 / (count + 100)).min(20_000) / 4;
        // It looks at nothing and answers one row: what remains is the way there and back.
        let (blind, named) = (
            Request { labels: vec![("misbehave".into(), "unknown-candidate".into())], ..request.clone() },
            "misbehave".into(),
        );
        let wasm = micros(rounds, || drop(black_box(home.host.place(Some(&named), &tables, &blind, &candidates))));
        println!("{count:>6} candidates  call alone                      wasm {wasm:>8.2} us");
        for name in ["weighted", "available", "aggregate", "cost"] {
            let native = micros(rounds, || drop(black_box(native::place(name, black_box(&request), &candidates))));
            let named = name.into();
            let wasm = micros(rounds, || {
                let answer = home.host.place(Some(&named), &tables, black_box(&request), &candidates);
                assert!(answer.failed.is_none(), "{:?}", answer.failed);
            });
            println!(
                "{count:>6} candidates  {name:<10} native {native:>8.2} us  wasm {wasm:>8.2} us  x {:.2}",
                wasm / native
            );
        }
    }
    for row in home.directory.set().status().iter().filter(|row| row.calls > 0) {
        println!("{:<10} {} calls, p50 {} us, p99 {} us", row.name, row.calls, row.p50_us, row.p99_us);
    }
}

#[test]
#[ignore = "measures"]
fn from_changed_file_to_first_decision() {
    let mut home = Home::with(Runtime::new(WallClock::On).unwrap());
    home.copy(&misbehave(), "misbehave.wasm");
    home.scan();
    let Home { folder, directory, mut host } = home;
    let _watch = Watch::start(directory, |_: &Scan| {}).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let (request, candidates) = question(1_000);
    let names: Vec<String> = (0..1_000).map(|row| format!("cluster-{row:05}")).collect();
    let tables = tables(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let decide = |host: &mut PolicyHost| {
        host.begin();
        let started = Instant::now();
        let answer = host.place(Some(&"misbehave".into()), &tables, &request, &candidates);
        term(&answer, "calls");
        (answer.by.digest, started.elapsed())
    };
    for mark in 0..5 {
        let before = decide(&mut host).0;
        let started = Instant::now();
        fs::write(folder.path().join("misbehave.wasm"), variant(&misbehave(), mark)).unwrap();
        let mut slowest = Duration::ZERO;
        loop {
            let (digest, took) = decide(&mut host);
            slowest = slowest.max(took);
            if digest != before {
                break;
            }
        }
        println!("new file to first decision: {:?}; slowest decision meanwhile: {slowest:?}", started.elapsed());
    }
}
