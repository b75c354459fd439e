//! Decisions a second that are committed durably: the whole step of a real controller on an embedded store.
//!
//! A step plans, checks, records, commits, takes in what was written and sends the manifests. `single` decides one workload
//! a commit, `batched` as many as a planning cycle takes. The disk is that of the build folder; how long it takes to sync is
//! measured beside, since `single` is bound by it.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use berth_api::Object;
use berth_control::store::EmbeddedStore;
use berth_control::{Controller, Settings as Loops};
use serde_json::json;

use super::fleet::{self, Outside, REPLICAS, Size};
use super::{Figures, Settings, median, rounded};

pub(super) fn measure(settings: &Settings) -> Result<Figures> {
    let clusters = if settings.quick { 100 } else { 1_000 };
    let (few, many) = if settings.quick { (32, 2_048) } else { (128, 8_192) };
    let single = decided(clusters, few, 1)?;
    let batched = decided(clusters, many, Loops::default().gang_batch)?;
    let mut figures = Figures::new();
    figures.insert(
        "durable_decisions_per_second".into(),
        json!({ "single": rounded(single.rate), "batched": rounded(batched.rate) }),
    );
    figures.insert(
        "durable".into(),
        json!({
            "clusters": clusters, "sync_ms": rounded(sync()?), "batch": Loops::default().gang_batch,
            "file_bytes_per_decision": batched.bytes,
        }),
    );
    Ok(figures)
}

struct Decided {
    /// Decisions a second.
    rate: f64,
    /// By which the store's file grew, for each.
    bytes: u64,
}

/// Lets a controller with an empty fleet decide so many workloads, `batch` a cycle.
fn decided(clusters: u32, workloads: u32, batch: usize) -> Result<Decided> {
    let folder = tempfile::tempdir_in(super::scratch()?)?;
    let size = Size { clusters, workloads: 0 };
    let mut outside = Outside::new(size, true)?;
    let loops = Loops { gang_batch: batch, ..Loops::default() };
    let mut controller = Controller::open(Box::new(EmbeddedStore::open(folder.path())?), loops)?;
    controller.apply(fleet::objects(size)?, outside.now())?;
    while outside.step(&mut controller)?.actions > 0 {}
    let manifests: Result<Vec<Object>> =
        (0..workloads).map(|one| Ok(Object::Manifest(fleet::manifest(one, REPLICAS)?))).collect();
    controller.apply(manifests?, outside.now())?;
    let file = |folder: &std::path::Path| std::fs::metadata(folder.join("berth.redb")).map_or(0, |file| file.len());
    let before = file(folder.path());
    let (mut decisions, mut spent) = (0, Duration::ZERO);
    while decisions < workloads as usize {
        let begun = Instant::now();
        let report = outside.step(&mut controller)?;
        spent += begun.elapsed();
        ensure!(report.decisions > 0, "{decisions} of {workloads} workloads were decided, and then none");
        decisions += report.decisions;
    }
    let placed = controller.workloads().iter().filter(|row| row.placed == REPLICAS).count();
    ensure!(placed == workloads as usize, "{placed} of {workloads} workloads were placed");
    let bytes = file(folder.path()).saturating_sub(before) / u64::from(workloads);
    Ok(Decided { rate: decisions as f64 / spent.as_secs_f64(), bytes })
}

/// Milliseconds that the disk takes to write a page and sync it.
fn sync() -> Result<f64> {
    let mut file = tempfile::tempfile_in(super::scratch()?)?;
    let mut times = Vec::new();
    for _ in 0..20 {
        file.write_all(&[1; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut times))
}
