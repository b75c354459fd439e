//! Whole-system tests as a library: what the tests of the program and `xtask` run alike.
//!
//! Nothing here is part of the program. It looks at the program as a user does, by its command line and its HTTP API, and at
//! what it left behind with the store's own library.

pub mod crash;

/// Says that a test did not happen, past what the test harness keeps to itself; where `BERTH_CONFORMANCE` is set, all of them
/// must, and it panics.
#[allow(clippy::explicit_write, clippy::panic, reason = "what `eprintln` prints is shown of failed tests alone")]
pub fn left_out(what: &str, why: &str) {
    use std::io::Write;
    if std::env::var_os("BERTH_CONFORMANCE").is_some() {
        panic!("{what} must be tested: {why}");
    }
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {what}: {why}");
}
