//! JavaScript: componentize-qjs, which takes a snapshot of QuickJS with the policy loaded.

use std::process::Command;

use berth_core::policy::Kind;

use super::{read, without};
use crate::error::AuthorError;
use crate::files::{self, JS_ENTRY};
use crate::project::Project;
use crate::tools::{self, COMPONENTIZE_QJS};
use crate::wit;

pub(super) fn build(project: &Project) -> Result<Vec<u8>, AuthorError> {
    let program = COMPONENTIZE_QJS.find(&project.folder)?;
    if !project.folder.join("policy.js").is_file() {
        return Err(without(project, "it has no policy.js"));
    }
    let scratch = project.scratch();
    let made = scratch.join("policy.wasm");
    let entry = scratch.join("entry.js");
    let method = if project.kind == Kind::Placement { "place" } else { "decide" };
    files::write(&entry, JS_ENTRY.replace("KIND", project.kind.as_str()).replace("METHOD", method).as_bytes())?;
    let mut command = Command::new(program);
    command
        .arg("--wit")
        .arg(wit::text(project)?)
        .arg("--world")
        .arg(project.world())
        .arg("--module-root")
        .arg(&project.folder);
    command.arg("--js").arg(&entry).args(["--stub-wasi", "--sync", "--output"]).arg(&made);
    tools::run(&COMPONENTIZE_QJS, command.current_dir(&project.folder))?;
    read(&made)
}
