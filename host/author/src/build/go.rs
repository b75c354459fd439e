//! Go: wit-bindgen's bindings with a few lines of glue, and Go's own compiler for WASI, which is answered by our adapter.

use std::fs;
use std::process::Command;

use berth_core::policy::Kind;

use super::{read, without};
use crate::component;
use crate::error::AuthorError;
use crate::files::{self, GO_GLUE};
use crate::project::Project;
use crate::tools::{self, GO};
use crate::wit;

/// What the generated bindings import from a repository of their own; the glue stands in for it, so that nothing has to
/// be fetched.
const SUPPORT: &str = "go.bytecodealliance.org/pkg/wit/";

pub(super) fn build(project: &Project) -> Result<Vec<u8>, AuthorError> {
    let go = GO.find(&project.folder)?;
    let module = module(project)?;
    let scratch = project.scratch();
    let options = wit_bindgen_go::Opts {
        format: wit_bindgen_go::Format::False,
        pkg_name: Some(format!("{module}/build")),
        ..wit_bindgen_go::Opts::default()
    };
    wit::generate(project, options.build(), &scratch, |text| {
        Some(text.replace(SUPPORT, &format!("{module}/build/wit/")))
    })?;
    let kind = match project.kind {
        Kind::Placement => GO_GLUE.placement,
        Kind::Gang => GO_GLUE.gang,
        Kind::Migration => GO_GLUE.migration,
    };
    let session = format!("export_berth_policy_{}/session.go", project.kind.as_str());
    for (path, text) in [
        ("export_berth_policy_about/about.go", GO_GLUE.about),
        (&session, kind),
        ("wit/types/types.go", GO_GLUE.types),
        ("wit/runtime/runtime.go", GO_GLUE.runtime),
        ("component/main.go", GO_GLUE.main),
    ] {
        files::write(&scratch.join(path), text.replace("MODULE", &module).as_bytes())?;
    }
    let core = scratch.join("policy.wasm");
    let mut build = Command::new(go);
    build.args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(&core);
    build.arg("./build/component").current_dir(&project.folder);
    build.env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOWORK", "off").env_remove("GOFLAGS");
    tools::run(&GO, &mut build)?;
    component::encode_as(project, read(&core)?)
}

/// The module's path, as `go.mod` has it.
fn module(project: &Project) -> Result<String, AuthorError> {
    let path = project.folder.join("go.mod");
    let text = fs::read_to_string(&path).map_err(AuthorError::io(&path, "read"))?;
    let module = text.lines().find_map(|line| line.strip_prefix("module "));
    module.map(|module| module.trim().to_owned()).ok_or_else(|| without(project, "its go.mod has no line `module`"))
}
