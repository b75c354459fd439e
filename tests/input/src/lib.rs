//! What must hold of every kind of input, good or bad: one function a kind, which panics where it does not.
//!
//! The fuzz targets in `tests/fuzz` call these functions with bytes that they make up; the tests of this package call them
//! with what fuzzing found worth keeping, and with random input of their own. Nothing here changes a file outside of a
//! temporary folder, and equal bytes are checked in the same way each time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a property that does not hold is told by a panic")]

pub mod answers;
mod choices;
#[cfg(feature = "wasm")]
pub mod components;
#[cfg(feature = "wasm")]
pub mod fleet;
#[cfg(feature = "wasm")]
pub mod http;
pub mod manifests;
pub mod objects;
#[cfg(feature = "wasm")]
pub mod policies;
#[cfg(feature = "wasm")]
pub mod series;
mod spite;
mod still;
