//! C: zig as the compiler, or the clang of a WASI SDK, with bindings that are frozen as the interface is.

use std::path::PathBuf;
use std::process::Command;

use berth_core::policy::Kind;

use super::{read, sources};
use crate::component;
use crate::error::AuthorError;
use crate::files::{self, C_BINDINGS};
use crate::project::Project;
use crate::tools::{self, ZIG};

/// The clang of a WASI SDK, where there is one.
pub(crate) fn wasi_sdk() -> Option<PathBuf> {
    let clang = PathBuf::from(std::env::var_os("WASI_SDK_PATH")?).join("bin/clang");
    clang.is_file().then_some(clang)
}

pub(super) fn build(project: &Project) -> Result<Vec<u8>, AuthorError> {
    let scratch = project.scratch();
    let (header, source) = match project.kind {
        Kind::Placement => C_BINDINGS.placement,
        Kind::Gang => C_BINDINGS.gang,
        Kind::Migration => C_BINDINGS.migration,
    };
    files::write(&scratch.join("policy.h"), header.as_bytes())?;
    files::write(&scratch.join("policy.c"), source.as_bytes())?;
    let mut compiler = match wasi_sdk() {
        Some(clang) => {
            let mut clang = Command::new(clang);
            clang.arg("--target=wasm32-wasip1");
            clang
        }
        None => {
            let mut zig = Command::new(ZIG.find(&project.folder)?);
            zig.args(["cc", "-target", "wasm32-wasi"]);
            zig
        }
    };
    let module = scratch.join("policy.wasm");
    // Each session has its own stack; zig would give it 16 MiB.
    compiler.arg("-Wl,-z,stack-size=262144");
    compiler
        .args(["-O2", "-s", "-mexec-model=reactor", "-std=gnu17", "-Wall", "-I"])
        .arg(&scratch)
        .arg("-o")
        .arg(&module);
    compiler.args(sources(project, "c")?).arg(scratch.join("policy.c"));
    tools::run(&ZIG, compiler.current_dir(&project.folder))?;
    component::encode_as(project, read(&module)?)
}
