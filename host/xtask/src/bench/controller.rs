//! What is counted of the controller around the planner: to take workloads in, decide and distribute them, and to start.
//!
//! Holds: everything is in memory and on one thread, so that the work is the same each time. Both are smaller than what is
//! started on several threads.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use berth_api::Object;
use berth_control::store::MemoryStore;
use berth_control::{Controller, Settings as Loops};

use super::fleet::{self, Outside, REPLICAS, Size};
use crate::allocator::Allocated;

const SIZE: Size = Size { clusters: 20, workloads: 0 };
/// Workloads that are decided before the first that counts, and those that do.
const WARM: u32 = 128;
pub(super) const COUNTED: u32 = 256;
/// Workloads in one request.
const TOGETHER: usize = 32;

fn allocated<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Allocated)> {
    let before = Allocated::so_far();
    let done = work()?;
    Ok((done, Allocated::so_far() - before))
}

/// A fleet without workloads, and what is stored of it.
fn empty() -> Result<(Outside, Controller, MemoryStore)> {
    let mut outside = Outside::new(SIZE, true)?;
    let store = MemoryStore::default();
    let mut controller = Controller::open(Box::new(store.clone()), Loops::default())?;
    controller.apply(fleet::objects(SIZE)?, outside.now())?;
    while outside.step(&mut controller)?.actions > 0 {}
    Ok((outside, controller, store))
}

/// Applies workloads, and steps until all are decided and sent to their members.
///
/// # Errors
/// A workload that was refused, or not placed.
pub(super) fn decided() -> Result<Allocated> {
    let (mut outside, mut controller, _) = empty()?;
    decide(&mut outside, &mut controller, manifests(0..WARM)?)?;
    let manifests = manifests(WARM..WARM + COUNTED)?;
    let ((), allocated) = allocated(|| decide_counted(&mut outside, &mut controller, manifests))?;
    let placed = controller.workloads().iter().filter(|row| row.placed == REPLICAS).count();
    ensure!(placed == (WARM + COUNTED) as usize, "{placed} workloads were placed");
    Ok(allocated)
}

fn manifests(numbers: Range<u32>) -> Result<Vec<Object>> {
    numbers.map(|number| Ok(Object::Manifest(fleet::manifest(number, REPLICAS)?))).collect()
}

fn decide(outside: &mut Outside, controller: &mut Controller, manifests: Vec<Object>) -> Result<()> {
    for together in manifests.chunks(TOGETHER) {
        controller.apply(together.to_vec(), outside.now())?;
        while outside.step(controller)?.actions > 0 {}
    }
    Ok(())
}

/// The same under the name that the counter of instructions looks for.
#[inline(never)]
fn decide_counted(outside: &mut Outside, controller: &mut Controller, manifests: Vec<Object>) -> Result<()> {
    decide(outside, controller, manifests)
}

/// Starts from a store with workloads and their placements.
///
/// # Errors
/// What is stored cannot be read, or is not all there.
pub(super) fn started() -> Result<Allocated> {
    let (mut outside, mut controller, store) = empty()?;
    decide(&mut outside, &mut controller, manifests(0..COUNTED)?)?;
    drop(controller);
    let (controller, allocated) = allocated(|| start_counted(store))?;
    let placed = controller.workloads().iter().filter(|row| row.placed == REPLICAS).count();
    ensure!(placed == COUNTED as usize, "{placed} workloads are placed after the start");
    Ok(allocated)
}

#[inline(never)]
fn start_counted(store: MemoryStore) -> Result<Controller> {
    Controller::open(Box::new(store), Loops::default()).context("cannot start from what was stored")
}
