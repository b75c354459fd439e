//! Rust: cargo, with the SDK.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{read, without};
use crate::component;
use crate::error::AuthorError;
use crate::files;
use crate::project::Project;
use crate::tools::{self, CARGO};

const TARGET: &str = "wasm32-unknown-unknown";
/// Where the manifest of a new project says that the SDK is.
const SDK: &str = "build/berth/plugins/sdk";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, AuthorError> {
    let cargo = CARGO.find(&project.folder)?;
    let manifest = project.folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|_| without(project, "it has no Cargo.toml that can be read"))?;
    // A policy of this repository has the SDK beside it.
    if text.contains(SDK) {
        files::write_sdk(&project.folder)?;
    }
    target(project)?;
    let mut build = Command::new(cargo);
    build.args([
        "rustc",
        "--release",
        "--lib",
        "--crate-type",
        "cdylib",
        "--message-format",
        "json-render-diagnostics",
    ]);
    build.args(["--target", TARGET, "--"]).arg(remap(&project.folder, "/policy"));
    build.current_dir(&project.folder).env("CARGO_ENCODED_RUSTFLAGS", flags()).env_remove("CARGO_BUILD_TARGET");
    let messages = tools::run(&CARGO, &mut build)?;
    let module = artifact(&String::from_utf8_lossy(&messages), &manifest);
    component::encode(&read(&module.ok_or_else(|| without(project, "cargo made no .wasm file of it"))?)?)
}

/// Whether the compiler can build for WebAssembly.
fn target(project: &Project) -> Result<(), AuthorError> {
    let mut rustc = Command::new("rustc");
    let asked = rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&project.folder).output();
    let found = asked.is_ok_and(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir());
    if found {
        return Ok(());
    }
    Err(AuthorError::Missing {
        tool: "the compiler's target wasm32-unknown-unknown",
        install: format!("rustup target add {TARGET}"),
    })
}

/// What runs over columns is vectorised. The same for all projects, so that they can share what is compiled.
fn flags() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).unwrap_or_default();
    format!("{}\x1f-Ctarget-feature=+simd128", remap(&home, "/cargo"))
}

/// A folder of this machine stays out of the component.
fn remap(folder: &Path, name: &str) -> String {
    format!("--remap-path-prefix={}={name}", folder.display())
}

/// The file that cargo has made of a package, by what cargo says.
fn artifact(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
    });
    let files = ours.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    let mut modules = files.filter(|file| file.extension().is_some_and(|end| end == "wasm"));
    modules.next_back()
}
