//! `berth`: a fleet scheduler for accelerators. All that it is stands in its library, so that tests can reach it too.

use std::process::ExitCode;

/// The state of a fleet is many small objects that live long, beside few large ones that do not: it is rebuilt and decided
/// upon faster than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    berth::main()
}
