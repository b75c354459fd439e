//! The auditor over a real controller and a simulated world: silent where nothing is wrong, and heard for every planted fault.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

mod healthy;
mod independent;
mod planted;
mod rig;

use rig::Rig;
