//! A new project: the example of its kind in its language, under its own name.

use std::fs;
use std::path::Path;

use berth_core::policy::Kind;

use crate::error::AuthorError;
use crate::files::{self, CARGO_TOML, EXAMPLES, GITIGNORE};
use crate::project::{Language, Project, is_name};

/// The example that a new policy of a kind starts from.
fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Placement => "region",
        Kind::Gang => "smallest",
        Kind::Migration => "leave",
    }
}

/// Writes a project that builds and passes its own cases into `folder`, which must not exist or be empty.
///
/// # Errors
/// If the name cannot be a policy's, the folder holds anything, or it cannot be written.
pub fn create(folder: &Path, name: &str, kind: Kind, language: Language) -> Result<Project, AuthorError> {
    let wrong =
        |what: String, hint: &str| AuthorError::Project { path: folder.to_owned(), what, hint: hint.to_owned() };
    if !is_name(name) {
        return Err(wrong(format!("{name:?} cannot be its name"), "use 1 to 63 of a-z, 0-9 and -"));
    }
    if language == Language::Rust && !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        return Err(wrong(format!("{name:?} cannot be the name of a crate"), "begin it with a letter"));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(wrong("the folder is not empty".into(), "choose another name, or another folder with --dir"));
    }
    let example = example(kind);
    let old = format!("{example}-{language}");
    let own = format!("{example}/{language}/");
    let cases = format!("{example}/cases/");
    for (path, contents) in EXAMPLES {
        if let Some(path) = path.strip_prefix(&own) {
            files::write(&folder.join(path), contents.replace(&old, name).as_bytes())?;
        } else if path.starts_with(&cases) {
            let path = path.trim_start_matches(example).trim_start_matches('/');
            files::write(&folder.join(path), contents.as_bytes())?;
        }
    }
    let kind = kind.as_str();
    let manifest = format!(
        "# What `berth policy build` makes of this folder. A policy that needs a configuration gets one for its first decision and\n\
         # its cases under [config].\nname = \"{name}\"\nkind = \"{kind}\"\nlanguage = \"{language}\"\n"
    );
    files::write(&folder.join("policy.toml"), manifest.as_bytes())?;
    files::write(&folder.join(".gitignore"), GITIGNORE.as_bytes())?;
    if language == Language::Rust {
        files::write(&folder.join("Cargo.toml"), CARGO_TOML.replace("NAME", name).as_bytes())?;
        files::write_sdk(folder)?;
    }
    Project::open(folder)
}
