//! The engine, and the limits of a call.
//!
//! One [`Runtime`] a process. Fuel is the limit that repeats: the same call uses the same fuel everywhere. Wall time is the
//! second one, kept by epochs that an OS thread counts; in a simulation it is off, so that time never decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, ResourceLimiter, Store, Trap};

use crate::stats::Failure;

/// Milliseconds of one epoch.
const TICK_MS: u64 = 2;
const MAX_STACK: usize = 1 << 20;
/// Bytes that one call may hand back to the host.
const HOSTCALL_FUEL: usize = 16 << 20;
/// Resources that may be alive in one session, which needs a single one.
const HANDLES: usize = 1_000;
/// How much more than a call a start may use: interpreters of dynamic languages set themselves up in it.
const START: u64 = 10;

/// What one call of a policy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Fuel of one call: about one unit an instruction.
    pub fuel: u64,
    /// Milliseconds of wall time of one call. Does not apply where the runtime has no wall clock.
    pub deadline_ms: u64,
    /// Bytes of linear memory of one session.
    pub memory_bytes: usize,
    /// Bytes of a policy file.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fuel: 1_000_000_000, deadline_ms: 500, memory_bytes: 256 << 20, file_bytes: 32 << 20 }
    }
}

impl Limits {
    /// Limits of a start: instantiation, `describe`, a new session or its update.
    pub(crate) fn of_start(&self) -> Limits {
        Limits { fuel: self.fuel.saturating_mul(START), deadline_ms: self.deadline_ms.saturating_mul(START), ..*self }
    }
}

/// Whether wall time limits a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallClock {
    On,
    /// Fuel alone limits: for simulations, which must not depend on how fast the machine is.
    Off,
}

#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine cannot be set up")]
pub struct RuntimeError {
    #[source]
    source: wasmtime::Error,
}

/// The engine and its clock. Clones share both.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    wall_clock: WallClock,
    /// Stops the ticker when the last clone goes.
    _ticker: Arc<Ticker>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("wall_clock", &self.wall_clock).finish_non_exhaustive()
    }
}

struct Ticker(Arc<AtomicBool>);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Runtime {
    /// # Errors
    /// If the engine does not accept its settings on this machine, or no thread can be started.
    pub fn new(wall_clock: WallClock) -> Result<Self, RuntimeError> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .concurrency_support(false)
            .consume_fuel(true)
            // Where nothing counts epochs, looking at them would cost a sixth of a call for nothing.
            .epoch_interruption(wall_clock == WallClock::On)
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .max_wasm_stack(MAX_STACK);
        let engine = Engine::new(&config).map_err(|source| RuntimeError { source })?;
        let stop = Arc::new(AtomicBool::new(false));
        if wall_clock == WallClock::On {
            let (engine, stop) = (engine.weak(), stop.clone());
            let tick = move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(TICK_MS));
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            };
            let thread = std::thread::Builder::new().name("policy-epochs".into()).spawn(tick);
            thread.map_err(|source| RuntimeError { source: source.into() })?;
        }
        Ok(Self { engine, wall_clock, _ticker: Arc::new(Ticker(stop)) })
    }

    pub(crate) fn wall_clock(&self) -> WallClock {
        self.wall_clock
    }

    pub(crate) fn store(&self, limits: &Limits) -> Store<Guest> {
        let mut store = Store::new(&self.engine, Guest { memory_bytes: limits.memory_bytes, memory: 0, denied: false });
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(HANDLES);
        store
    }

    /// Gives the next call its fuel and its time.
    pub(crate) fn arm(&self, store: &mut Store<Guest>, limits: &Limits) -> Result<(), wasmtime::Error> {
        store.data_mut().denied = false;
        store.set_fuel(limits.fuel)?;
        if self.wall_clock == WallClock::On {
            store.set_epoch_deadline(limits.deadline_ms / TICK_MS + 1);
        }
        Ok(())
    }
}

/// What the host keeps beside a guest: its memory, and how much it may have.
#[derive(Debug)]
pub(crate) struct Guest {
    memory_bytes: usize,
    /// Bytes in use, over all its memories.
    pub(crate) memory: usize,
    /// Whether the call under way was denied more.
    denied: bool,
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let after = self.memory.saturating_add(desired.saturating_sub(current));
        let allowed = after <= self.memory_bytes;
        if allowed {
            self.memory = after;
        }
        self.denied |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }

    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        10
    }
}

/// Sorts the error of a call into what the guest did.
pub(crate) fn failure(store: &Store<Guest>, error: &wasmtime::Error) -> (Failure, String) {
    if store.data().denied {
        let limit = store.data().memory_bytes >> 20;
        return (Failure::Memory, format!("it wanted more than its {limit} MiB of memory"));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => (Failure::Fuel, "it used up its fuel".into()),
        Some(Trap::Interrupt) => (Failure::Deadline, "it ran past its deadline".into()),
        Some(trap) => (Failure::Trap, format!("it trapped: {trap}")),
        None => (Failure::BadAnswer, format!("its answer cannot be taken: {}", error.root_cause())),
    }
}
