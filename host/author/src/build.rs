//! Builds a project's component with the tools of its language, one file a language.

mod c;
mod go;
mod javascript;
mod python;
mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use berth_policy::{Runtime, Trial};

pub(crate) use c::wasi_sdk;

use crate::error::AuthorError;
use crate::files;
use crate::project::{Language, Project};

/// A component that a controller would load.
#[derive(Debug)]
pub struct Made {
    pub file: PathBuf,
    /// Compiled already, to be asked more.
    pub trial: Trial,
}

/// Builds a project, checks the component as a controller does before it is in force, and puts it at `output`, or else in
/// the project. A component that was there before is replaced only by one that has passed.
///
/// # Errors
/// What is missing, what a tool said, or why a controller would refuse the component.
pub fn make(project: &Project, runtime: &Runtime, output: Option<&Path>) -> Result<Made, AuthorError> {
    let scratch = project.scratch();
    fs::create_dir_all(&scratch).map_err(AuthorError::io(&scratch, "made"))?;
    let component = match project.language {
        Language::Rust => rust::build(project),
        Language::Js => javascript::build(project),
        Language::Python => python::build(project),
        Language::C => c::build(project),
        Language::Go => go::build(project),
    }?;
    let made = scratch.join("component.wasm");
    files::write(&made, &component)?;
    let trial = Trial::open(runtime, &made).map_err(AuthorError::Refused)?;
    let described = trial.inspection().description.name;
    let described = described.as_str();
    if described != project.name {
        return Err(AuthorError::Project {
            path: project.folder.clone(),
            what: format!("policy.toml names it {}, and `describe` says {described}", project.name),
            hint: "make the two names the same".into(),
        });
    }
    trial.configure(&project.config).map_err(AuthorError::Refused)?;
    let file = output.map_or_else(|| project.component(), Path::to_owned);
    put(&made, &file)?;
    Ok(Made { file, trial })
}

/// Puts a file in its place whole, so that a controller that watches the folder never sees a part of it.
fn put(from: &Path, to: &Path) -> Result<(), AuthorError> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let beside = to.with_file_name(format!(".{name}.new"));
    fs::copy(from, &beside).map_err(AuthorError::io(&beside, "written"))?;
    fs::rename(&beside, to).map_err(AuthorError::io(to, "written"))
}

/// Reads what a tool has written.
fn read(path: &Path) -> Result<Vec<u8>, AuthorError> {
    fs::read(path).map_err(AuthorError::io(path, "read"))
}

/// Files of the project's folder that end so, in the order of their names.
fn sources(project: &Project, ending: &str) -> Result<Vec<PathBuf>, AuthorError> {
    let folder = &project.folder;
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let paths = entries.map_err(AuthorError::io(folder, "read"))?.into_iter().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    found.sort();
    if found.is_empty() {
        return Err(without(project, &format!("it has no .{ending} file")));
    }
    Ok(found)
}

fn without(project: &Project, what: &str) -> AuthorError {
    let hint = format!("policy.toml says that its language is {}", project.language);
    AuthorError::Project { path: project.folder.clone(), what: what.into(), hint }
}
