//! The compiler as cargo calls it for policies: with names of crates that do not depend on the folder of the clone.
//!
//! Cargo hashes the absolute path of a crate outside the workspace, here `host/core`, into what tells crates of one name
//! apart. That reaches the order of functions in a component, so the same sources would give other bytes in each clone.
//! While policies are built, this program is cargo's `RUSTC_WRAPPER` and puts package, version and crate there instead.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

const MARK: &str = "BERTH_XTASK_COMPILES_POLICIES";

/// Makes cargo compile through this program.
pub(crate) fn install(cargo: &mut Command) -> Result<()> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    cargo.env("RUSTC_WRAPPER", program).env(MARK, "1");
    Ok(())
}

/// Runs the compiler if cargo asks for it, and returns its exit code.
pub(crate) fn take_over() -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let package = ["CARGO_PKG_NAME", "CARGO_PKG_VERSION"].map(|name| std::env::var(name).unwrap_or_default());
    match Command::new(&rustc).args(renamed(arguments.collect(), &package.join(" "))).status() {
        // A compiler that was ended by a signal has no code.
        Ok(status) => Some(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", Path::new(&rustc).display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// The arguments with `metadata=HASH` replaced by the package and the crate that is compiled.
fn renamed(mut arguments: Vec<OsString>, package: &str) -> Vec<OsString> {
    let name = arguments.iter().position(|argument| argument == "--crate-name");
    let name = name.and_then(|at| arguments.get(at + 1)).map(|name| name.to_string_lossy().into_owned());
    for argument in &mut arguments {
        if let (Some(name), true) = (&name, argument.to_string_lossy().starts_with("metadata=")) {
            *argument = format!("metadata={package} {name}").into();
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hash_is_replaced() {
        let arguments = ["--crate-name", "core", "-C", "metadata=1f", "-C", "extra-filename=-1f"].map(OsString::from);
        let expected = ["--crate-name", "core", "-C", "metadata=berth-core 0.1.0 core", "-C", "extra-filename=-1f"];
        assert_eq!(renamed(arguments.into(), "berth-core 0.1.0"), expected.map(OsString::from));
        assert_eq!(renamed(vec!["-vV".into()], "p"), [OsString::from("-vV")]);
    }
}
