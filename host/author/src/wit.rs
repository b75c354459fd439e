//! The policy interface as the tools want it: as text, and as bindings for C and Go.

use std::fs;
use std::path::Path;

use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};

use crate::error::AuthorError;
use crate::files::{self, INTERFACE};
use crate::project::Project;

/// The interface, with the world of a project's kind.
pub(crate) fn world(project: &Project) -> Result<(Resolve, WorldId), AuthorError> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", INTERFACE).map_err(AuthorError::component)?;
    let world = resolve.select_world(&[package], Some(&project.world())).map_err(AuthorError::component)?;
    Ok((resolve, world))
}

/// Writes what a generator makes of a project's world into `folder`.
pub(crate) fn generate(
    project: &Project,
    mut generator: Box<dyn WorldGenerator>,
    folder: &Path,
    edit: impl Fn(&str) -> Option<String>,
) -> Result<(), AuthorError> {
    let (mut resolve, world) = world(project)?;
    let mut made = Files::default();
    generator.generate(&mut resolve, world, &mut made).map_err(AuthorError::component)?;
    for (name, bytes) in made.iter() {
        let edited = std::str::from_utf8(bytes).ok().and_then(&edit);
        files::write(&folder.join(name), edited.as_deref().map_or(bytes, str::as_bytes))?;
    }
    Ok(())
}

/// Writes the interface as text into the project's scratch folder, for tools that read it themselves.
pub(crate) fn text(project: &Project) -> Result<std::path::PathBuf, AuthorError> {
    let folder = project.scratch().join("wit");
    files::write(&folder.join("policy.wit"), INTERFACE.as_bytes())?;
    fs::canonicalize(&folder).map_err(AuthorError::io(&folder, "read"))
}
