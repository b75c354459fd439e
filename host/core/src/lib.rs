//! The model and the planner: pure, synchronous and deterministic.
//!
//! Nothing here reads a clock, a random source or the environment, and nothing here does I/O: time, seeds and all state
//! are arguments. The way of a decision through this crate:
//!
//! ```text
//! fleet::Snapshot -> policy::Queue -> feasible -> policy::Candidates -> check -> plan::Plan
//! ```

pub mod check;
pub mod columns;
pub mod feasible;
pub mod fleet;
pub mod ids;
pub mod names;
pub mod native;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod quota;
pub mod reason;
pub mod resources;
pub mod spread;
pub mod workload;
