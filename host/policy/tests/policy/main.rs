//! Policies as components, from the file to the decision: those that are built in, and one that misbehaves.
//!
//! `guests/misbehave.wasm` is built from `plugins/testing/misbehave` by `cargo run -p xtask -- policies build`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod beside;
mod breaker;
mod calls;
mod cases;
mod limits;
mod native;
mod properties;
mod refusals;
mod reload;
mod replay;
mod sessions;
mod support;
mod trust;
mod watched;
