//! The languages' own tools: found where the project or the machine has them, and run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::AuthorError;
use crate::project::{Language, Project};

/// Bytes of what a tool said that are shown when it fails; the end says why.
const SHOWN: usize = 8 << 10;

/// A tool of one language: how its program may be called, and how to get it. `DIR` stands for the project's folder.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    programs: &'static [&'static str],
    install: &'static str,
}

pub(crate) const CARGO: Tool =
    Tool { name: "cargo", programs: &["cargo"], install: "install Rust as https://rustup.rs says" };
pub(crate) const COMPONENTIZE_QJS: Tool = Tool {
    name: "componentize-qjs",
    programs: &["componentize-qjs"],
    install: "npm install --prefix DIR componentize-qjs@0.4.5 (needs Node.js 20 or later)",
};
pub(crate) const COMPONENTIZE_PY: Tool = Tool {
    name: "componentize-py",
    programs: &["componentize-py"],
    install: "python3 -m venv DIR/.venv && DIR/.venv/bin/pip install componentize-py==0.25.1",
};
pub(crate) const ZIG: Tool = Tool {
    name: "zig",
    programs: &["zig", "python-zig"],
    install: "python3 -m venv DIR/.venv && DIR/.venv/bin/pip install ziglang==0.17.1; or set WASI_SDK_PATH to a WASI SDK",
};
pub(crate) const GO: Tool =
    Tool { name: "go", programs: &["go"], install: "install Go 1.25 or later as https://go.dev/dl says" };

impl Tool {
    /// The program: the project's own before the machine's.
    ///
    /// # Errors
    /// If there is none, with how to get it.
    pub(crate) fn find(&self, folder: &Path) -> Result<PathBuf, AuthorError> {
        let own = [folder.join(".venv/bin"), folder.join("node_modules/.bin")];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = own.into_iter().chain(std::env::split_paths(&path)).collect();
        let programs = self.programs.iter().flat_map(|program| places.iter().map(move |place| place.join(program)));
        programs.into_iter().find(|program| program.is_file()).ok_or_else(|| AuthorError::Missing {
            tool: self.name,
            install: self.install.replace("DIR", &folder.display().to_string()),
        })
    }
}

/// Which tool of a project's language this machine lacks, and how to get it.
pub fn missing(project: &Project) -> Option<AuthorError> {
    let tool = match project.language {
        Language::Rust => CARGO,
        Language::Js => COMPONENTIZE_QJS,
        Language::Python => COMPONENTIZE_PY,
        Language::C if crate::build::wasi_sdk().is_some() => return None,
        Language::C => ZIG,
        Language::Go => GO,
    };
    tool.find(&project.folder).err()
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started or fails, with what it said.
pub(crate) fn run(tool: &Tool, command: &mut Command) -> Result<Vec<u8>, AuthorError> {
    let failed = |output: String| AuthorError::Tool { tool: tool.name.to_owned(), output };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(said.get(said.len().saturating_sub(SHOWN)..).unwrap_or_default()).into_owned();
    Err(failed(if said.trim().is_empty() { output.status.to_string() } else { said.trim_end().to_owned() }))
}
