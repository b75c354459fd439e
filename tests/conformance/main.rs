//! Policies in every language, through the same cases: whole components, built with each language's own tools.
//!
//! Builds what this machine has tools for and says what it left out; with `BERTH_CONFORMANCE=all` a missing tool is a
//! failure. A component is built once for each state of its sources and kept in the target folder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod examples;
mod misbehaving;
mod projects;
