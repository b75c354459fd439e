//! Start and memory of a controller with a large fleet, and what a step costs once nothing is left to do.
//!
//! The state is written to an embedded store first, and opened by a process of its own, so that nothing of the writing
//! counts. Memory is what is resident after the start and a settled step, the world behind the ports included.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use berth_api::{Manifest, Object};
use berth_control::history::{self, DecisionEntry, tables_key};
use berth_control::ports::{Batch, Expected, HistoryEntry, ObjectKey, Store, Write};
use berth_control::record::Record;
use berth_control::store::{EmbeddedStore, HISTORY_KEPT};
use berth_control::{Controller, Settings as Loops, Settled};
use berth_core::ids::{Generation, PlanId};
use berth_core::native;
use berth_core::placement::Placement;
use berth_core::plan::DecisionRecord;
use berth_core::policy::{Assignment, Candidates, Component, Decision, Request, Tables, Term};
use serde_json::{Value, json};

use super::fleet::{self, Outside, REPLICAS, START, Size};
use super::random::Random;
use super::{Figures, Settings, median, rounded};

/// Objects in one batch of the writing.
const BATCH: usize = 5_000;
/// Steps of each kind that are timed.
const STEPS: u32 = 40;

fn size(quick: bool) -> Size {
    if quick { Size { clusters: 100, workloads: 10_000 } } else { Size { clusters: 1_000, workloads: 100_000 } }
}

/// Writes the state, and lets a fresh process open it.
pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let folder = tempfile::tempdir_in(super::scratch()?)?;
    let size = size(settings.quick);
    eprintln!("  writing {} clusters, {} nodes, {} placements", size.clusters, size.nodes(), size.workloads);
    write(size, folder.path())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench").arg("--opened").arg(folder.path()).args(settings.quick.then_some("--quick"));
    let output = command.current_dir(&settings.root).stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the process that opens the state ended with {}", output.status);
    let figures: Value = serde_json::from_slice(&output.stdout).context("it says nothing that can be read")?;
    Ok(figures.as_object().cloned().unwrap_or_default())
}

fn put(object: &Object) -> Write {
    Write { key: ObjectKey::from(&object.key()), expected: Expected::Absent, value: Some(object.to_json().into()) }
}

fn write(size: Size, folder: &Path) -> Result<()> {
    let mut store = EmbeddedStore::open(folder)?;
    for objects in fleet::objects(size)?.chunks(BATCH) {
        store.commit(&Batch { writes: objects.iter().map(put).collect(), history: Vec::new() })?;
    }
    let tables = tables(size);
    let value = serde_json::to_vec(&tables)?.into();
    let digest = "tables-of-the-benchmark";
    let about = Some(tables_key(digest));
    store.commit(&Batch { writes: Vec::new(), history: vec![HistoryEntry { at: START, about, value }] })?;
    let numbers: Vec<u32> = (0..size.workloads).collect();
    let kept = size.workloads.saturating_sub(HISTORY_KEPT as u32 - 1);
    for numbers in numbers.chunks(BATCH) {
        let manifests: Result<Vec<Manifest>> = numbers.iter().map(|one| fleet::manifest(*one, REPLICAS)).collect();
        let writes = manifests?.into_iter().map(|manifest| put(&Object::Manifest(manifest))).collect();
        let revision = store.commit(&Batch { writes, history: Vec::new() })?;
        let mut batch = Batch::default();
        for number in numbers {
            let record = record(size, *number, revision.0);
            let value = Some(record.to_json().into());
            batch.writes.push(Write { key: record.key(), expected: Expected::Absent, value });
            if *number >= kept {
                let about = Some(ObjectKey::from(&record.placement.workload));
                let value = history::encode(&decision(size, *number, digest)).into();
                batch.history.push(HistoryEntry { at: START, about, value });
            }
        }
        store.commit(&batch)?;
    }
    let key = ObjectKey { kind: "berth.dev/v1alpha1/Plan".into(), namespace: "".into(), name: "newest".into() };
    let head = json!({"plan": 1, "decidedAt": START.0}).to_string().into_bytes();
    let write = Write { key, expected: Expected::Absent, value: Some(head.into()) };
    store.commit(&Batch { writes: vec![write], history: Vec::new() })?;
    Ok(())
}

fn record(size: Size, workload: u32, generation: u64) -> Record {
    let shares = fleet::shares(size, workload);
    Record::new(Placement {
        workload: fleet::key(workload),
        workload_generation: generation,
        plan: PlanId(1),
        decided_at: START,
        policy: native::policy_ref("available"),
        clusters: shares.iter().map(|share| share.cluster.clone()).collect(),
        shares,
    })
}

fn tables(size: Size) -> Tables {
    let names: Vec<Arc<str>> = (0..size.clusters).map(|row| format!("cluster-{row:05}").into()).collect();
    Tables {
        providers: vec!["sim".into(); names.len()],
        regions: vec!["r".into(); names.len()],
        names,
        ..Tables::default()
    }
}

/// A decision for which every cluster was a candidate.
fn decision(size: Size, workload: u32, tables: &str) -> DecisionEntry {
    let rows = || 0..size.clusters;
    let vary =
        |row: u32, most: u32| Random::new(u64::from(workload) << 32 | u64::from(row)).below(most as usize) as u32;
    let candidates = Candidates {
        cluster: rows().collect(),
        ready: rows().map(|row| vary(row, 40)).collect(),
        elastic: rows().map(|row| 800 - vary(row, 40)).collect(),
        current: rows().map(|_| 0).collect(),
        price: rows().map(|row| f64::from(10 + row % 20) * 0.125).collect(),
        current_price: rows().map(|_| 0.0).collect(),
        lead_seconds: rows().map(|_| 120).collect(),
        interruption: rows().map(|_| 0.01).collect(),
        tier: rows().map(|_| 0).collect(),
        weight: rows().map(|_| 1).collect(),
        ..Candidates::default()
    };
    let key = fleet::key(workload);
    let assigned = |candidate| Assignment { component: 0, candidate, replicas: 2 };
    let term = |row: u32| Term { candidate: row, name: "available".into(), value: f64::from(vary(row, 40)) };
    let record = DecisionRecord {
        plan: PlanId(1),
        generation: Generation(1),
        workload: key.clone(),
        workload_generation: 1,
        decided_at: START,
        by: native::policy_ref("available"),
        failed: None,
        fuel: 0,
        tables: Arc::default(),
        request: Request {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            components: vec![Component { name: "main".into(), replicas: REPLICAS, floor: 0 }],
            ..Request::default()
        },
        candidates,
        passed: Default::default(),
        outcome: Ok(Decision { assignments: vec![assigned(1), assigned(2)], terms: rows().map(term).collect() }),
    };
    DecisionEntry { tables: tables.into(), clusters: Vec::new(), short: None, record: Arc::new(record) }
}

/// What the fresh process does: opens the state, steps, and prints its figures.
///
/// # Errors
/// The store cannot be read, or the state does not settle.
pub(super) fn open(folder: &Path, quick: bool) -> Result<()> {
    let size = size(quick);
    let mut outside = Outside::new(size, false)?;
    let world = resident("VmRSS:");
    let start = Instant::now();
    let store = EmbeddedStore::open(folder)?;
    let opened = start.elapsed();
    let mut controller = Controller::open(Box::new(store), Loops::default())?;
    let rebuilt = start.elapsed();
    let first = outside.step(&mut controller)?;
    let started = start.elapsed();
    ensure!(first.actions == 0, "the first step did {} things where nothing is left to do", first.actions);
    while matches!(controller.settled(), Settled::Working) {
        let again = outside.step(&mut controller)?;
        ensure!(again.actions == 0 && again.decisions == 0, "the state does not settle");
    }
    let settled = start.elapsed();
    let memory = resident("VmRSS:");
    let peak = resident("VmHWM:");
    let steady = steady(&mut outside, &mut controller)?;
    let figures = json!({
        "memory_mib": memory,
        "start_seconds": rounded(started.as_secs_f64()),
        "start": {
            "clusters": size.clusters, "nodes": size.nodes(), "placements": size.workloads,
            "store_seconds": rounded(opened.as_secs_f64()),
            "state_seconds": rounded((rebuilt - opened).as_secs_f64()),
            "first_step_seconds": rounded((started - rebuilt).as_secs_f64()),
            "settled_seconds": rounded(settled.as_secs_f64()),
            "world_mib": world, "peak_mib": peak,
        },
        "steady_us": steady,
    });
    println!("{figures}");
    Ok(())
}

/// Microseconds that a step takes when nothing changed, and all steps that follow from one change.
fn steady(outside: &mut Outside, controller: &mut Controller) -> Result<Value> {
    let (mut nothing, mut node, mut workload) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..STEPS {
        let begun = Instant::now();
        outside.step(controller)?;
        nothing.push(begun.elapsed().as_secs_f64() * 1e6);
        outside.change_node(round);
        let begun = Instant::now();
        outside.step(controller)?;
        node.push(begun.elapsed().as_secs_f64() * 1e6);
        let replicas = REPLICAS + 1 + round / 2 % 2;
        let begun = Instant::now();
        controller.scale(&fleet::key(round % 2), replicas, outside.now())?;
        while outside.step(controller)?.actions > 0 {}
        workload.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let figure = |mut values: Vec<f64>| rounded(median(&mut values));
    Ok(json!({"nothing": figure(nothing), "one_node": figure(node), "one_workload": figure(workload)}))
}

/// A line of what the system says of this process, MiB; `None` where it says nothing.
fn resident(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let found = status.lines().find_map(|found| found.strip_prefix(line))?;
    Some(found.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
