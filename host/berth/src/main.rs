//! `berth`: a fleet scheduler for accelerators. All that it is stands in its library, so that tests can reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth::main()
}
