//! Python: componentize-py, which takes a snapshot of the interpreter with the policy loaded.

use std::process::Command;

use super::{read, without};
use crate::error::AuthorError;
use crate::project::Project;
use crate::tools::{self, COMPONENTIZE_PY};
use crate::wit;

/// The module must be called like the interface: that is where componentize-py looks for the session.
pub(super) fn build(project: &Project) -> Result<Vec<u8>, AuthorError> {
    let program = COMPONENTIZE_PY.find(&project.folder)?;
    let module = project.kind.as_str();
    if !project.folder.join(format!("{module}.py")).is_file() {
        return Err(without(
            project,
            &format!("it has no {module}.py, which a {module} policy in Python is written in"),
        ));
    }
    let made = project.scratch().join("policy.wasm");
    let mut command = Command::new(program);
    command.arg("-d").arg(wit::text(project)?).args([
        "-w",
        &project.world(),
        "componentize",
        "--stub-wasi",
        module,
        "-o",
    ]);
    tools::run(&COMPONENTIZE_PY, command.arg(&made).current_dir(&project.folder))?;
    read(&made)
}
